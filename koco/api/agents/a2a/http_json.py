"""The HTTP+JSON binding of A2A (the specification's section 11)."""

from typing import Any

from litestar import Response, delete, get, post

from koco.api.agents.a2a import answers
from koco.api.agents.a2a.faults import NOT_JSON, A2AError
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.operations.table import perform
from koco.api.agents.a2a.reading import bodies
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.errors import NotFoundError

_FLOW = "/a2a/{service:str}/{flow:str}"
_TASK = f"{_FLOW}/tasks/{{task:str}}"
_PUSHES = f"{_TASK}/pushNotificationConfigs"
_GUARDS = [requires("read")]
#: The operations on a task, by what follows the colon after its id. Clients use GET and POST for
#: `subscribe`, as the specification's text and its a2a.proto differ.
_VERBS = {
    ("GET", ""): "GetTask",
    ("GET", "subscribe"): "SubscribeToTask",
    ("POST", "subscribe"): "SubscribeToTask",
    ("POST", "cancel"): "CancelTask",
}


@post(f"{_FLOW}/message:send", guards=_GUARDS, status_code=200, reads=True)
async def send_to_agent(request: Request) -> Response[Any]:
    """Send a message to the agent of a flow."""
    return await _answer(request, "SendMessage")


@post(f"{_FLOW}/message:stream", guards=_GUARDS, status_code=200, reads=True)
async def stream_from_agent(request: Request) -> Response[Any]:
    """Send a message, and follow the task."""
    return await _answer(request, "SendStreamingMessage")


@get(f"{_FLOW}/tasks", guards=_GUARDS)
async def list_tasks(request: Request) -> Response[Any]:
    """List tasks."""
    return await _answer(request, "ListTasks")


@get(_TASK, guards=_GUARDS)
async def show_task(request: Request, task: str) -> Response[Any]:
    """Show a task; with `:subscribe`, follow it."""
    return await _act(request, task)


@post(_TASK, guards=_GUARDS, status_code=200, reads=True)
async def act_on_task(request: Request, task: str) -> Response[Any]:
    """Cancel a task (`:cancel`), or follow it (`:subscribe`)."""
    return await _act(request, task)


@post(_PUSHES, guards=_GUARDS, status_code=200, reads=True)
async def add_push_config(request: Request, task: str) -> Response[Any]:
    """Have the updates of a task sent to a URL."""
    return await _answer(request, "CreateTaskPushNotificationConfig", taskId=task)


@get(_PUSHES, guards=_GUARDS)
async def list_push_configs(request: Request, task: str) -> Response[Any]:
    """List where the updates of a task are sent."""
    return await _answer(request, "ListTaskPushNotificationConfigs", taskId=task)


@get(f"{_PUSHES}/{{config:str}}", guards=_GUARDS)
async def show_push_config(request: Request, task: str, config: str) -> Response[Any]:
    """Show one of these."""
    return await _answer(request, "GetTaskPushNotificationConfig", taskId=task, id=config)


@delete(f"{_PUSHES}/{{config:str}}", guards=_GUARDS, status_code=200, reads=True)
async def remove_push_config(request: Request, task: str, config: str) -> Response[Any]:
    """Remove one of these."""
    return await _answer(request, "DeleteTaskPushNotificationConfig", taskId=task, id=config)


@get(f"{_FLOW}/extendedAgentCard", guards=_GUARDS)
async def show_extended_card(request: Request) -> Response[Any]:
    """Show the agent's card, as the caller may see it."""
    return await _answer(request, "GetExtendedAgentCard")


async def _act(request: Request, task: str) -> Response[Any]:
    fid, _, verb = task.partition(":")
    name = _VERBS.get((request.method, verb))
    if name is None:
        raise NotFoundError(f"there is no {request.method} at {request.url.path}")
    return await _answer(request, name, id=fid)


async def _answer(request: Request, name: str, **more: str) -> Response[Any]:
    given = dict(request.query_params) if request.method == "GET" else await _body(request)
    path = request.path_params
    agent = Agent(request, f"{path['service']}/{path['flow']}")
    found = await perform(agent, name, {**given, **more})
    if isinstance(found, dict):
        return answers.whole(found, answers.media_type(request))
    return answers.stream(request, *found)


async def _body(request: Request) -> dict[str, Any]:
    found = await bodies.read(request, default=b"{}")
    if not isinstance(found, dict):
        raise A2AError(NOT_JSON, "the body must be an object")
    return found


ROUTES = (
    send_to_agent,
    stream_from_agent,
    list_tasks,
    show_task,
    act_on_task,
    add_push_config,
    list_push_configs,
    show_push_config,
    remove_push_config,
    show_extended_card,
)
