"""An execution in memory, for tests of flows: no control plane takes part.

`memory` is what is stored, and outlives the crashes that a test asks for. `tracer` is what a flow
gets, in each of its processes. Begin reading there.
"""

from koco.sdk.in_memory.answers import Lease
from koco.sdk.in_memory.memory import Event, Memory
from koco.sdk.in_memory.tracer import Tracer

__all__ = ["Event", "Lease", "Memory", "Tracer"]
