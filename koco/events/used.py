"""What an execution has used."""

import msgspec

#: Larger numbers are not possible.
_MOST = 2**53


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """The resources that an execution has used so far, in all its attempts and processes together.

    docs/events.md says how each is measured.
    """

    #: How long processes have run it, and their CPU time for it (seconds).
    wall_s: float = 0.0
    cpu_s: float = 0.0
    #: The most memory that one of these processes had meanwhile.
    peak_memory_bytes: int = 0
    #: How many Ray tasks and actors it has started.
    ray_tasks: int = 0
    #: The size of its events, files and recorded steps. The store knows it.
    stored_bytes: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether all numbers are possible. A service's code can send others, such as NaN."""
        return all(0 <= number <= _MOST for number in msgspec.structs.astuple(self))

    def plus(self, other: "Used") -> "Used":
        """Return this and what another process has used."""
        return Used(
            wall_s=round(self.wall_s + other.wall_s, 6),
            cpu_s=round(self.cpu_s + other.cpu_s, 6),
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
            ray_tasks=self.ray_tasks + other.ray_tasks,
            stored_bytes=self.stored_bytes + other.stored_bytes,
        )
