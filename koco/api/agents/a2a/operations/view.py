"""Show executions as tasks, with all that belongs to them."""

from collections.abc import Sequence
from typing import Any

from koco.api.agents.a2a.shapes import artifacts, messages, tasks
from koco.api.agents.a2a.shapes.artifacts import EVERY, Modes
from koco.api.agents.a2a.shapes.messages import Json
from koco.api.agents.calls import decode_lines
from koco.api.routes.executions.results import read_outcome
from koco.control.container import Parts
from koco.control.events.chunk_reader import Wanted
from koco.errors import KocoError
from koco.events.model import Kind, Status
from koco.forms import Model
from koco.store.model import Execution, Lock

#: How many locks of an execution its history has.
_LOCKS = 1000
#: How much of an execution's events is searched for results on the way (pieces of 128 kB), and how
#: much of these is shown (bytes).
_PIECES, _RESULT_BYTES = 32, 256 * 1024


class View:
    """Shows executions to a user, who reaches the control plane at a URL."""

    def __init__(self, parts: Parts, url: str, *, user: str) -> None:
        self._parts = parts
        self._url = url
        self._user = user

    async def show(
        self,
        execution: Execution,
        *,
        history_length: int | None = None,
        modes: Modes = EVERY,
        has_artifacts: bool = True,
    ) -> Json:
        """Return an execution as a task."""
        page = await self._parts.store.locks.page_of(execution.id, limit=_LOCKS)
        shown = messages.history(execution, page.items)
        length = len(shown) if history_length is None else history_length
        return tasks.task(
            execution,
            message=await self.message(execution),
            locks=page.items,
            artifacts=await self._artifacts(execution, modes) if has_artifacts else None,
            history=shown[-length:] if length else (),
        )

    async def message(self, execution: Execution) -> Json | None:
        """Return the message that says more of a task's status, if there is more to say."""
        if execution.status is Status.AWAITING:
            snapshot = await self._parts.store.snapshots.get(
                execution.fid, outcome=False, locks=True
            )
            return await self.question(execution, snapshot.locks)
        if execution.status is Status.QUEUED and (why := self._parts.supervisor.why(execution)):
            return messages.message(execution, "waits", messages.text_part(why))
        return tasks.failure(execution)

    async def question(self, execution: Execution, locks: Sequence[Lock]) -> Json | None:
        """Return the message that asks for the answers to locks; None if there are none."""
        asked = [await self._asked(each) for each in locks]
        return messages.question(execution, asked) if asked else None

    async def _asked(self, lock: Lock) -> tuple[Lock, Json]:
        """Return a lock, and what is said of its answer: `form` and `schema`, or a `problem`."""
        try:
            elements = await self._parts.locks.form(lock, user=self._user)
        except KocoError as exc:
            return lock, {"problem": exc.message}
        if elements is None:
            return lock, {}
        form = Model.from_list(elements)
        return lock, {"form": form.to_list(), "schema": form.json_schema()}

    async def _artifacts(self, execution: Execution, modes: Modes) -> list[Json]:
        found = []
        said, is_cut = await self._results(execution)
        if said:
            found.append(artifacts.results(said, modes, is_cut=is_cut))
        if execution.status is Status.FINISHED:
            outcome = await read_outcome(self._parts, execution)
            if result := artifacts.result(outcome.result, modes):
                found.append(result)
        files = await self._parts.files.listing(execution, "out")
        return found + [artifacts.file(execution, each, self._url) for each in files]

    async def _results(self, execution: Execution) -> tuple[list[Any], bool]:
        """Return what a flow has said on the way, and whether that is not all of it."""
        wanted, found, count = Wanted(frozenset({Kind.RESULT})), b"", 0
        async for piece in self._parts.spooler.read(execution, wanted, until=execution.last_seq):
            found, count = found + piece.data, count + 1
            if len(found) > _RESULT_BYTES or count == _PIECES:
                break
        is_cut = len(found) > _RESULT_BYTES or count == _PIECES
        # The last event may be cut in the middle.
        events = decode_lines(found[: found.rfind(b"\n") + 1])
        return [each.payload for each in events], is_cut
