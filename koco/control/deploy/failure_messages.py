"""Messages for failed releases, from a runner's report or from an exception."""

from collections.abc import Sequence

from koco.cluster.runners import EnvironmentFailed, RunnerDied
from koco.cluster.serve_failures import ApplicationFailed
from koco.control.deploy.start_watch import DiedAtStart
from koco.errors import KocoError
from koco.forms import FormError, Model
from koco.manifest.descriptions import FlowDescription
from koco.plurals import plural
from koco.runner.spec import Description, ImportFailure
from koco.store.model import ReleaseFailure

_HINTS = {
    "ModuleNotFoundError": "ship the module with the bundle, or name its package in "
    "`runtime.dependencies`",
    "SyntaxError": "fix the line shown; `python -m compileall .` finds such errors earlier",
}


def of_imports(description: Description) -> ReleaseFailure | None:
    """Return the error of a release whose imports failed, or None if they all worked."""
    if not description.problems:
        return None
    first = description.problems[0]
    alike: dict[str, list[ImportFailure]] = {}
    for problem in description.problems:
        alike.setdefault(_what(problem), []).append(problem)
    message = "; ".join(f"{_where(problems)}{what}" for what, problems in alike.items())
    # Flows of one module fail alike, so show its traceback once.
    tracebacks = dict.fromkeys(p.traceback for p in description.problems if p.traceback)
    return ReleaseFailure(
        message=message,
        detail="\n\n".join(tracebacks) or None,
        hint=first.hint or _HINTS.get(first.type),
    )


def of_forms(flows: Sequence[FlowDescription]) -> ReleaseFailure | None:
    """Return the error of the first invalid form, or None.

    Forms are checked because they come from the service's own code.
    """
    for flow in flows:
        try:
            Model.from_list(flow.form or [])
        except FormError as exc:
            return ReleaseFailure(message=f"flow {flow.name!r}: its form is not valid: {exc}")
    return None


def _what(problem: ImportFailure) -> str:
    kind = f"{problem.type}: " if problem.type else ""
    return f"{kind}{problem.message}"


def _where(problems: list[ImportFailure]) -> str:
    """Return the names of all that share a problem: `flows 'a', 'b', app: `."""
    if not problems[0].entrypoint:  # nothing has been imported yet
        return ""
    names = [repr(each.flow) for each in problems if each.flow is not None]
    parts = [f"{plural(len(names), 'flow')} {', '.join(names)}"] if names else []
    parts += ["app"] if len(names) < len(problems) else []
    return f"{', '.join(parts)}: "


def of_exception(
    exc: Exception,
    timeout_s: float,
    *,
    said: str | None,
    unplaced: str | None = None,
    installing: bool = False,
) -> ReleaseFailure:
    """Return the error of a release whose rollout raised an exception.

    `said` is Serve's last status message for an endpoint that did not come up. `unplaced` is the
    reason why no node takes a runner. `installing` means that packages are still being installed.
    """
    match exc:
        case EnvironmentFailed():
            return ReleaseFailure(message=exc.message, detail=exc.detail, hint=exc.hint)
        case ApplicationFailed():
            return ReleaseFailure(
                message=f"the endpoint did not start: {exc.message}",
                detail=exc.detail,
                hint="it runs as a Ray Serve application: does its module, or its "
                "deployment's constructor, fail?",
            )
        case DiedAtStart():
            return ReleaseFailure(
                message=f"no runner starts: {exc.message}",
                detail=exc.detail or None,
                hint="does a module of the bundle have the name of a package that Ray imports,"
                " or does a package or `runtime.env` keep Python from starting?",
            )
        case RunnerDied():
            return ReleaseFailure(
                message="the runner died while it imported the entrypoints, or right after:"
                f" {exc.message}",
                detail=exc.detail or None,
                hint="does a module end the process, or use more memory than there is?",
            )
        case TimeoutError() if said:
            return ReleaseFailure(
                message=f"its endpoint was not up within {timeout_s:g} s",
                detail=said,
                hint="do the nodes have the resources that its Serve deployment requests?",
            )
        case TimeoutError() if unplaced:
            return ReleaseFailure(
                message=f"it was not ready within {timeout_s:g} s; {unplaced}",
                hint="`runner.resources` and `runner.labels` say what a runner's node must "
                "have; `koco status` shows the nodes",
            )
        case TimeoutError() if installing:
            return ReleaseFailure(
                message=f"its packages were not installed within {timeout_s:g} s; the node "
                "continues to install them",
                hint="another `koco deploy` continues from there; `--timeout` allows more "
                "time. Can the nodes reach the package registry?",
            )
        case TimeoutError():
            return ReleaseFailure(
                message=f"it was not ready within {timeout_s:g} s",
                hint="does a module wait for something while it is imported? "
                "`--timeout` allows more time",
            )
        case KocoError():
            return ReleaseFailure(message=exc.message, hint=exc.hint)
        case _:
            return ReleaseFailure(message=f"{type(exc).__name__}: {exc}")
