"""What a service's own endpoint and the control plane know of each other: the words they use."""

import re
from typing import Any

import msgspec

from koco.errors import UsageError

#: The header that says what an answer is: one of the words below.
ANSWER = "x-koco-answer"
LAUNCH, FORM, VALUE, ERRORS, FAILURE = "launch", "form", "value", "errors", "failure"

#: The path for questions about locks: neither an author's route nor for other callers.
INTERNAL = "/_koco"


def flow_name(path: str, service: str) -> str:
    """Return the name of a path's flow: `/` has the service's name, `/a/b` is `a-b`."""
    slug = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
    if not slug:
        return service
    if not slug[0].isalpha():
        slug = f"flow-{slug}"
    return slug[:63].rstrip("-")


def decode(body: bytes) -> Any:
    """Return the JSON in a request's body. Raises `UsageError` if the body is not JSON."""
    try:
        return msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(
            f"the body is not valid JSON: {exc}", hint="send the inputs as an object"
        ) from exc
