"""A service's own endpoint in a test: what it launches, and its locks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from koco.errors import InputsError, NotFoundError
from koco.events import datetimes
from koco.events.questions import OpenLock
from koco.sdk.endpoint.launch import Launch
from koco.sdk.endpoint.protocol import ERRORS, FAILURE
from koco.sdk.entrypoints import loader

#: The user of an execution in a test.
USER = "tester"


def submit(
    app: Any, inputs: dict[str, Any] | None = None, path: str = "/", *, user: str = USER
) -> Launch:
    """Ask a service's own endpoint what it would launch, without launching it.

    The form of the `enter` route checks the inputs, and its handler is called. The returned
    launch has the inputs that the flow would get; `run` takes it in place of the flow.

    Args:
        app: the `ServeAPI`, or its name as in the manifest's `app`: `module:object`.
        inputs: the user's inputs.
        path: the route.
        user: the `request.state.user` that the handler sees.

    Raises:
        InputsError: the form or the handler refuses the inputs.
        NotFoundError: there is no such route.
        UsageError: the handler returned no `Launch`.
        DeployError: there is no such app, or the entrypoint of the launch does not exist.
        Exception: anything else that the handler raises.
    """
    found = find(app)
    if path not in found.enters:
        known = ", ".join(found.enters) or "none"
        raise NotFoundError(f"the app has no enter route {path!r}", hint=f"it has: {known}")
    launch: Launch = asyncio.run(found.submit(path, inputs or {}, user=user))
    return launch


def find(app: Any) -> Any:
    """Return the `ServeAPI` of an app, which may be named."""
    from koco.sdk.endpoint.serving import serve_api_of

    if isinstance(app, str):
        return serve_api_of(loader.find(app), app)
    return serve_api_of(app, "test:app")


def form(app: Any, lock: OpenLock) -> list[dict[str, Any]] | None:
    """Return the form of a lock; None if it has none.

    Raises:
        AssertionError: the app's handler failed.
    """
    if app is None or lock.name not in app.locks:
        return None
    answer = asyncio.run(app.ask(lock.name, data=lock.data, user=USER))
    if answer.kind == FAILURE:
        raise _failed(lock, answer)
    found: list[dict[str, Any]] = answer.body["form"]
    return found


def lease(app: Any, lock: OpenLock, given: Any) -> tuple[Any, datetimes.Moments] | None:
    """Return the flow's value of an answer to a lock; None if no app handles the lock."""
    if app is None or (lock.name not in app.locks and lock.name not in app.leases):
        return None
    # In a thread, because the flow's own loop may be running in this one.
    with ThreadPoolExecutor(1) as threads:
        asking = app.answer(lock.name, inputs=given, data=lock.data, user=USER)
        answer = threads.submit(asyncio.run, asking).result()
    if answer.kind == ERRORS:
        raise InputsError(**answer.body["errors"])
    if answer.kind == FAILURE:
        raise _failed(lock, answer)
    return answer.body["value"], answer.body.get("moments", [])


def _failed(lock: OpenLock, answer: Any) -> AssertionError:
    return AssertionError(
        f"the app failed at the lock {lock.name!r}: {answer.body['type']}: "
        f"{answer.body['message']}\n{answer.body['traceback']}"
    )
