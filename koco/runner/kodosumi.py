"""An execution the Kodosumi way: its entrypoint, its inputs and its tracer."""

import base64
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from koco.kodosumi import const, entrypoint, files
from koco.kodosumi.payloads import shaped
from koco.kodosumi.tracer import Tracer
from koco.runner.flow import Flow, failing
from koco.sdk import tracer
from koco.sdk.entrypoints import loader


@dataclass(frozen=True, slots=True)
class KodosumiFlow(Flow):
    """An entrypoint that gets `inputs` and `tracer` as Kodosumi passes them, unchecked."""

    def start(self, inputs: Any, tracer: tracer.Tracer) -> Any:
        """Call the entrypoint with the inputs as they are, in a tracer of Kodosumi's."""
        return self.entrypoint(inputs, tracer)

    def trace(self, origin: tracer.Tracer) -> Tracer:
        """Return Kodosumi's tracer of the same execution."""
        return Tracer(origin)

    def payload_of(self, result: Any) -> Any:
        """Return the result with the name of its class, if it is an object."""
        return shaped(result)


def find(name: str, target: str | Callable[..., Any]) -> KodosumiFlow:
    """Return the flow of an entrypoint, by its name or itself.

    Raises:
        DeployError: the name does not name a callable.
        Exception: anything that importing the author's module raises.
    """
    found = loader.find(target) if isinstance(target, str) else target
    if not entrypoint.is_crew(found):
        loader.require_callable(found, target if isinstance(target, str) else name)
    call, is_async = entrypoint.prepare(found)
    return KodosumiFlow(name, call, None, is_async)


def load(name: str, target: str | Callable[..., Any]) -> Flow:
    """Return the same as `find`.

    If the import raises, the returned flow raises that when it is called, because the execution
    exists by then.
    """
    try:
        return find(name, target)
    except BaseException as exc:  # noqa: BLE001 - a user's module may raise anything
        return failing(name, exc)


def unpickle(name: str, pickled: str) -> tuple[Flow, Any]:
    """Return the flow and the inputs that the service's endpoint has pickled.

    This runs the author's code, so it belongs into a thread of a runner. If it raises, the returned
    flow raises that.
    """
    try:
        target, inputs = pickle.loads(base64.b64decode(pickled))
    except BaseException as exc:  # noqa: BLE001 - as above
        return failing(name, exc), {}
    return load(name, target), inputs


def enter(fid: str, user: str) -> None:
    """Let the environment name the execution that runs in this process, and its user."""
    os.environ[const.ENV_FID], os.environ[const.ENV_USER_ID] = fid, user


def leave(fid: str) -> None:
    """Undo `enter`, and remove the execution's downloads."""
    if os.environ.get(const.ENV_FID) == fid:
        del os.environ[const.ENV_FID]
        os.environ.pop(const.ENV_USER_ID, None)
    files.remove_downloads(fid)
