"""What a peer is: how it starts, how a client talks to it, and what it cannot do."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tests.bench.peers.ledger import Ledger, State
from tests.bench.peers.processes import Processes
from tests.bench.wire import Wire

#: How long a product may take until it is ready (seconds).
_START_S = 120.0
#: How often something is asked whose change is not told (seconds).
POLL_S = 0.01


class Connection(Protocol):
    """A client's connection, used by one thread."""

    def launch(self, number: int, seconds: float = 0.0) -> str:
        """Launch the work; return the id by which the product knows it from then on."""
        ...

    def wait(self, ident: str) -> None:
        """Wait until an execution has finished, in the way that tells it soonest."""
        ...

    def launch_waiting(self, number: int) -> str:
        """Launch an execution that waits for a person."""
        ...

    def state(self, ident: str) -> State:
        """Return what the product says of an execution."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a product can be asked to do in the time that there is."""

    #: How many launches may be on their way while the rate is measured: enough to keep it busy.
    window: int = 200
    #: How many launches are made while everything is killed.
    kill: int = 200
    #: How many executions wait.
    waiting: int = 100
    #: How many times as long as for others its rate is measured, and it may take to settle.
    patience: int = 1
    #: How long it may make no progress after its restart until what is open counts as lost
    #: (seconds).
    quiet_s: float = 15.0


class Peer(ABC):
    """A product, in a folder of its own.

    `start` returns when the product itself says that it is ready for a launch. `restart` does so
    with what is left on the disk after `kill`.
    """

    #: The name for `--only`.
    name: ClassVar[str]
    #: The name in the table.
    title: ClassVar[str]
    #: The name of its venv, and what that has; without requirements it is this checkout's own.
    venv: ClassVar[str] = ""
    requirements: ClassVar[tuple[str, ...]] = ()
    #: The packages whose versions are told.
    packages: ClassVar[tuple[str, ...]] = ()
    #: How it is set up, as a footnote.
    setup: ClassVar[str]
    sizes: ClassVar[Sizes] = Sizes()
    #: Footnotes to figures, by the figure's name.
    notes: ClassVar[dict[str, str]] = {}
    #: The figures that it cannot have, with the reason.
    lacks: ClassVar[dict[str, str]] = {}
    #: Settings of its processes.
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, root: Path, python: Path) -> None:
        self.root, self.python = root, python
        self.ledger = Ledger(root / "ledger")
        own = {name: value.format(root=root) for name, value in self.settings.items()}
        self.processes = Processes(root, {"PEERS_LEDGER": str(self.ledger.path), **own})

    @classmethod
    def missing(cls) -> str:
        """Say what this machine lacks for it, or return ''."""
        return ""

    @abstractmethod
    def start(self) -> None:
        """Start the product, and wait until it is ready."""

    @abstractmethod
    def connect(self) -> Connection:
        """Return a new connection of a client."""

    def wait_states(self, numbers: list[int]) -> int:
        """Return how many of the executions that should wait do so."""
        runs = self.ledger.runs()
        return sum(runs[number] > 0 for number in numbers)

    def kill(self) -> None:
        """End every process of the product at once with SIGKILL."""
        self.processes.kill()

    def restart(self) -> None:
        """Start it again with what is on the disk."""
        self.start()

    def stop(self) -> None:
        """End everything that was started."""
        self.processes.stop()

    def until(self, is_ready: Callable[[], Any], *, timeout_s: float = _START_S) -> None:
        """Wait until something is true; a refused connection counts as not yet.

        Raises:
            RuntimeError: a process of the product has died meanwhile.
            TimeoutError: it does not become true.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if is_ready():
                    return
            except (OSError, RuntimeError):
                pass  # not yet
            if dead := self.processes.died():
                raise RuntimeError(f"{self.title}: {dead}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.title} is not ready after {timeout_s:g} s")
            time.sleep(POLL_S)


def answers(url: str, path: str, key: str = "") -> bool:
    """Say whether a server answers a GET with a success."""
    with Wire(url, key, timeout_s=10) as wire:
        wire.request("GET", path)
    return True
