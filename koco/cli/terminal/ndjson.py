"""Write a command's progress as NDJSON, in the shape of events.

The contract is in docs/stream.md, and `koco schema stream` prints it. Events of executions are not
made here: they pass through unchanged from the API.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from koco.cli.terminal import output, times
from koco.errors import Interrupted, KocoError, unexpected
from koco.tokens import mask_all


def emit(kind: str, payload: dict[str, Any]) -> None:
    """Write a line to stdout at once."""
    ts = times.rfc3339(datetime.now(UTC))
    output.print_ndjson({"ts": ts, "kind": kind, "payload": payload})


@contextmanager
def ending(as_json: bool) -> Iterator[None]:
    """End a command's lines with its outcome, as the final status ends an execution's events."""
    if not as_json:
        yield
        return
    try:
        yield
    except KocoError as exc:
        emit("status", error_payload(exc))
        raise
    except KeyboardInterrupt:
        emit("status", error_payload(Interrupted("interrupted")))
        raise
    except BrokenPipeError:
        raise  # the reader is gone
    except Exception as exc:
        emit("status", error_payload(unexpected(exc)))
        raise
    emit("status", {"status": "finished"})


def error_payload(error: KocoError) -> dict[str, Any]:
    """Return the last line's payload for an error. Its details are on stderr."""
    hint = mask_all(error.hint) if error.hint else None
    facts = {"code": error.code, "message": mask_all(error.message), "hint": hint}
    return {"status": "error", "exit_code": error.exit_code, "error": facts}
