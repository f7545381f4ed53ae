"""What is measured of a peer."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.peers.ledger import Losses


@dataclass(slots=True, kw_only=True)
class Figures:
    """The figures of one peer. None has not been measured; `failed` may say why."""

    name: str
    title: str
    setup: str
    notes: dict[str, str] = field(default_factory=dict)
    #: The figures that the product has no notion of, with the reason.
    lacks: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    #: What went wrong, by figure; by `peer` if it could not be started at all.
    failed: dict[str, str] = field(default_factory=dict)

    #: From the first command until the product says that it is ready (seconds).
    ready_s: float | None = None
    #: From the first command to the end of the first execution (seconds).
    first_s: float | None = None
    accepted_ms: float | None = None
    finished_ms: float | None = None
    #: How many launches these two are the median of.
    samples: int = 0
    #: Short executions a second.
    per_s: float | None = None
    #: How many launches were refused because the product was busy (429 or 503), and sent again.
    refused: int = 0
    #: PSS of all processes (MB), and how many there are.
    idle_mb: float | None = None
    processes: int = 0
    #: What 100 waiting executions take beyond that (MB), and how many waited.
    waiting_mb: float | None = None
    waited: int = 0
    losses: Losses | None = None
    #: From the first command after the kill until the product says that it is ready (seconds).
    back_s: float | None = None
    took_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return them as data."""
        lost = {"lost": self.losses.lost} if self.losses else {}
        return asdict(self) | lost
