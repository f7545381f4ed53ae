"""Import the function that a person has named."""

from typing import Any

from koco.cli.local_run.source import Source
from koco.errors import DeployError, NotFoundError
from koco.runner.flow import Flow, load_flow
from koco.sdk.process.tracebacks import describe


def load(
    found: Source, form: list[dict[str, Any]] | None, *, otherwise: str = "run it with --remote"
) -> Flow:
    """Return the flow of a source. Its form is the given one, or is made from its signature.

    `otherwise` says what to do if a package that it imports cannot be installed here.

    Raises:
        NotFoundError: there is no such function, or it cannot be a flow.
        DeployError: the file cannot be imported; the detail is the traceback.
    """
    try:
        return load_flow(found.function, found.entrypoint, form)
    except DeployError as exc:  # as for a flow that does not exist
        raise NotFoundError(exc.message, hint=exc.hint) from exc
    except (Exception, SystemExit) as exc:
        # Without this function's own frame, so that the frames before the user's are koco's and go.
        error = describe(exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next))
        raise DeployError(
            f"{found.file.name} cannot be imported: {error['type']}: {error['message']}",
            detail=error["traceback"],
            hint=_about_import(exc, otherwise),
        ) from exc


def _about_import(exc: BaseException, otherwise: str) -> str:
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return f"install {exc.name.partition('.')[0]!r} beside koco, or {otherwise}"
    return "correct the line shown above"
