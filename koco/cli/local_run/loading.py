"""Import the function that a person has named."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from koco.cli.local_run.source import Source
from koco.errors import DeployError, NotFoundError
from koco.runner.flow import Flow, load_flow
from koco.sdk.process.tracebacks import describe

#: The command line's code, which calls what imports the user's.
_OURS = str(Path(__file__).parents[1])


def load(found: Source, form: list[dict[str, Any]] | None) -> Flow:
    """Return the flow of a source. Its form is the given one, or is made from its signature.

    Raises the errors of `explained`.
    """
    with explained(found, otherwise="run it with --remote"):
        return load_flow(found.function, found.entrypoint, form)


@contextmanager
def explained(found: Source, *, otherwise: str) -> Iterator[None]:
    """Turn the errors of an import into those that a command reports.

    `otherwise` says what to do if a package that the source needs cannot be installed here.

    Raises:
        NotFoundError: there is no such function, or it cannot be a flow.
        DeployError: the file cannot be imported; the detail is the traceback.
    """
    try:
        yield
    except DeployError as exc:  # as for a flow that does not exist
        raise NotFoundError(exc.message, hint=exc.hint) from exc
    except (Exception, SystemExit) as exc:
        frame = exc.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OURS):
            frame = frame.tb_next
        error = describe(exc.with_traceback(frame))
        raise DeployError(
            f"{found.file.name} cannot be imported: {error['type']}: {error['message']}",
            detail=error["traceback"],
            hint=_about_import(exc, otherwise),
        ) from exc


def _about_import(exc: BaseException, otherwise: str) -> str:
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return f"install {exc.name.partition('.')[0]!r} beside koco, or {otherwise}"
    return "correct the line shown above"
