"""The flow that a test names: an entrypoint, a launch of an app, a flow of Kodosumi's model."""

import inspect
import os
from collections.abc import Callable
from typing import Any

from koco.errors import UsageError
from koco.runner.flow import Flow, load_flow
from koco.runner.flows import Orders
from koco.sdk.endpoint.launch import Launch
from koco.sdk.entrypoints import loader
from koco.testing.apps import USER

#: The flow of a test: `module:object`, the callable itself, or the launch that `submit` returned.
Target = str | Callable[..., Any] | Launch


def use_kodosumi() -> None:
    """Let `import kodosumi` find `koco.kodosumi`, as in a release with `runtime.kodosumi: true`.

    Call it before the service's modules are imported: at the top of a `conftest.py`, for example.
    The real package comes first if it is installed.
    """
    from koco.sdk import import_alias

    import_alias.install()


def find(
    target: Any, inputs: Any, form: list[dict[str, Any]] | None, *, kodosumi: bool
) -> tuple[Flow, Any, bool]:
    """Return a flow, the inputs that it gets, and whether it is in Kodosumi's model.

    Raises:
        InputsError: the inputs do not pass the form.
        UsageError: the flow is a handler of an app, or a launch has inputs beside it.
    """
    if is_launch(target):
        if inputs is not None:
            raise UsageError("the launch has its inputs", hint="give the inputs to `submit`")
        found, inputs, kodosumi = _ordered(target)
    else:
        found = _load_kodosumi(target) if kodosumi else load_flow("test", target, form)
    given = inputs if kodosumi else inputs or {}
    if found.form is not None:
        found.form.validate(given)
    return found, given, kodosumi


def is_launch(flow: Any) -> bool:
    """Return whether an object is what `submit` returns."""
    return isinstance(flow, Launch) or _is_kodosumis(flow)


def enter_kodosumi(fid: str) -> None:
    """Prepare this process for an execution in Kodosumi's model."""
    from koco.kodosumi import const
    from koco.runner import kodosumi

    if const.ENV_FID not in os.environ:  # else the test has set its own
        kodosumi.enter(fid, USER)


def leave_kodosumi(fid: str) -> None:
    """Remove the remains of an execution in Kodosumi's model."""
    from koco.runner import kodosumi

    kodosumi.leave(fid)


def _is_kodosumis(launch: Any) -> bool:
    """Return whether an object is a launch in Kodosumi's model, which is a response, too."""
    return isinstance(getattr(launch, "order", None), dict) and hasattr(launch, "entry_point")


def _ordered(launch: Any) -> tuple[Flow, Any, bool]:
    """Return the flow and the inputs of a launch, and whether it is in Kodosumi's model."""
    if _is_kodosumis(launch):
        return _load_kodosumi(launch.entry_point), launch.inputs, True
    return Orders().flow("test", launch.entrypoint), launch.inputs, False


def _load_kodosumi(flow: str | Callable[..., Any]) -> Flow:
    from koco.runner import kodosumi

    use_kodosumi()
    target = loader.find(flow) if isinstance(flow, str) else flow
    if inspect.isfunction(target):
        asked = inspect.signature(target).parameters.get("request")
        if asked is not None and asked.default is asked.empty:
            raise UsageError(
                f"{target.__qualname__} asks for `request`: it is an app's handler, not a flow",
                hint="`testing.submit(app, inputs, path)` calls it and returns its launch, which"
                " `testing.run` takes for the flow",
            )
    return kodosumi.find("test", flow)
