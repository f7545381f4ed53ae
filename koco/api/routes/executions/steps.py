"""Recorded steps of executions, and their export for tests."""

from typing import Annotated, Self

from litestar import get
from msgspec import Meta

from koco.api.http import auth, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import WholeStream
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Fid, Shape, Time, text
from koco.errors import TooManyError
from koco.events import line
from koco.events.steps import StepKind, StepStatus
from koco.store import model
from koco.store.model import History, Page


class RecordedStep(Shape):
    """A recorded step: a call of the flow's own code, or a wait."""

    key: Annotated[str, text("fetch:3", "its place in the flow: its name, and which call of it")]
    name: Annotated[str, text("fetch")]
    kind: StepKind
    position: Annotated[int, Meta(description="the order of the calls, from 1")]
    status: StepStatus
    attempt: Annotated[int, Meta(description="the number of its latest attempt, from 1")]
    failures: Annotated[int, Meta(description="how many attempts have failed")]
    started: Time
    duration_s: float | None
    size_bytes: Annotated[int, Meta(description="the size of its recorded outcome")]
    arguments: Annotated[str, text("('https://example.com',)", "for people: shortened")]
    preview: Annotated[str, text("'a page'", "its result or error, for people: shortened")]
    due: Annotated[Time | None, Meta(description="when the wait ends at the latest")]
    child: Annotated[Fid | None, Meta(description="the execution that it launched")]

    @classmethod
    def render(cls, step: model.Step) -> Self:
        """Return a step as answers show it."""
        started, due = line.timestamp(step.started), line.timestamp_if_any(step.due)
        took_s = None if step.duration_s is None else round(step.duration_s, 6)
        # A wait goes on in other processes: of those, its row has the number.
        attempt = step.attempt if step.kind is StepKind.STEP else 1
        return cls.of(step, started=started, due=due, duration_s=took_s, attempt=attempt)


@get("/v1/executions/{fid:str}/steps", guards=[requires("read")])
async def list_steps(
    request: Request,
    fid: str,
    *,
    status: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[RecordedStep]:
    """List the recorded steps of an execution in the order of their calls, without results."""
    list_query.check_limit(limit)
    execution = await auth.find_execution(request, fid)
    page = await request.parts.store.steps.page_of(
        execution.id,
        statuses=list_query.names(status, StepStatus),
        limit=limit,
        cursor=cursor,
    )
    return Page([RecordedStep.render(step) for step in page.items], page.next)


@get(
    "/v1/executions/{fid:str}/steps/history",
    guards=[requires("launch")],
    answers={200: Answer(media={JSON: History}, is_streamed=True, about="the history")},
    errors=[TooManyError],
)
async def export_history(request: Request, fid: str) -> WholeStream:
    """Export everything that is recorded of an execution, for `koco.testing.replays`.

    It has the results as the flow's own process encoded them, with whatever is in them, so only
    the user who launched the execution, and those that it repeats, and admins may have it. A
    caller gets one at a time.
    """
    execution = await auth.find_execution(request, fid)
    await auth.require_origin(request, execution, "export the steps")
    pieces = request.parts.histories.export(execution, by=request.auth.holder)
    headers = {"Cache-Control": "no-store"}
    return WholeStream(request, pieces, media_type=JSON, headers=headers)


ROUTES = (list_steps, export_history)
