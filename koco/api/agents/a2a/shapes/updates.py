"""The updates of a task: what of an execution's events a client is told, in their order."""

import json
from collections.abc import Iterator
from typing import Any

from koco.api.agents.a2a.shapes import artifacts, messages, tasks
from koco.api.agents.a2a.shapes.artifacts import Modes
from koco.api.agents.a2a.shapes.messages import Json
from koco.api.agents.calls import Event
from koco.events.model import Kind, Status
from koco.store.model import Execution, File

#: The kinds of events that `Updates` understands.
KINDS = frozenset(
    {
        *(Kind.STATUS, Kind.LOCK, Kind.RESULT, Kind.PROGRESS, Kind.STDOUT),
        *(Kind.UPLOAD, Kind.FINAL, Kind.ERROR),
    }
)
#: The most text that one message has (characters): the end of what was printed meanwhile.
_LONGEST = 4096


class Updates:
    """Turns the events of one execution into updates of its task."""

    def __init__(self, execution: Execution, *, url: str, modes: Modes, has_results: bool) -> None:
        self._execution = execution
        self._url = url
        self._modes = modes
        #: Whether the artifact with results on the way exists already.
        self._has_results = has_results
        self._failure: Json | None = None
        self._printed: list[str] = []
        self._now = execution.status
        self._asking: Event | None = None

    @property
    def asks(self) -> Event | None:
        """The event with which the task asks for something that it has not asked for before."""
        asking, self._asking = self._asking, None
        return asking if self._now is Status.AWAITING else None

    def of(self, events: list[Event]) -> Iterator[Json]:
        """Yield the updates that some events are, which came together.

        That it awaits answers is not among them, because that needs the locks: see `asks`.
        """
        for event in events:
            if event.kind == Kind.STDOUT:
                self._printed.append(event.payload)
                continue
            yield from self._flush(event)
            yield from self._of(event)
        if events:
            yield from self._flush(events[-1])

    def status(self, event: Event, message: Json | None = None) -> Json:
        """Return the update that a task has another status, or says something."""
        found = tasks.status(self._now, event.ts, message)
        return {"statusUpdate": {**self._about(event), "status": found}}

    def _of(self, event: Event) -> Iterator[Json]:
        kind, payload = event.kind, event.payload
        if kind == Kind.STATUS:
            self._now = Status(payload["status"])
            if self._now is Status.AWAITING:
                self._asking = event
            else:
                yield self.status(event, self._failure if self._now is Status.ERROR else None)
        elif kind == Kind.LOCK:
            self._asking = event
        elif kind == Kind.RESULT:
            found = artifacts.results([payload], self._modes)
            yield self._artifact(event, found, append=self._has_results)
            self._has_results = True
        elif kind == Kind.PROGRESS:
            yield self.status(event, self._say(event, _progress_text(payload)))
        elif kind == Kind.ERROR:
            text = f"{payload.get('type')}: {payload.get('message')}"
            self._failure = self._say(event, text)
        elif kind == Kind.FINAL:
            if result := artifacts.result(payload, self._modes):
                yield self._artifact(event, result, is_last=True)
        elif kind == Kind.UPLOAD:
            yield from self._file(event, payload)

    def _file(self, event: Event, payload: dict[str, Any]) -> Iterator[Json]:
        if not payload["path"].startswith("out/") or payload.get("removed"):
            return
        names = ("path", "sha256", "size_bytes", "by")
        file = File(created=event.ts, **{name: payload[name] for name in names})
        found = artifacts.file(self._execution, file, self._url)
        yield self._artifact(event, found, is_last=True)

    def _flush(self, event: Event) -> Iterator[Json]:
        """Yield what was printed since the last time, in one message."""
        if self._printed:
            text, self._printed = "\n".join(self._printed)[-_LONGEST:], []
            yield self.status(event, self._say(event, text))

    def _say(self, event: Event, text: str) -> Json:
        part = messages.text_part(text)
        return messages.message(self._execution, f"event-{event.seq}", part)

    def _artifact(
        self,
        event: Event,
        artifact: Json,
        *,
        append: bool = False,
        is_last: bool = False,
    ) -> Json:
        found = {**self._about(event), "artifact": artifact}
        return {"artifactUpdate": {**found, "append": append, "lastChunk": is_last}}

    def _about(self, event: Event) -> Json:
        return {
            "taskId": self._execution.fid,
            "contextId": messages.context_of(self._execution),
            "metadata": {"seq": event.seq},
        }


def _progress_text(payload: Any) -> str:
    if not isinstance(payload, dict):
        return json.dumps(payload)
    done, total = payload.get("done"), payload.get("total")
    text = f"{done:g}" if isinstance(done, int | float) else str(done)
    text += f" of {total:g}" if isinstance(total, int | float) else ""
    return f"{text}: {payload['message']}" if payload.get("message") else text
