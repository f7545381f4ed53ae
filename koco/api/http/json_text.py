"""JSON in a text of a request: decoded within the same bounds as a body.

A body of one long text has one value, so the limit on a body's values says nothing of what is in
its texts.
"""

from typing import Any

import msgspec

from koco.errors import LimitError
from koco.forms import json_value_count
from koco.sizes import MB, format_size

#: The longest text that is decoded as a list or an object (bytes).
_MOST_BYTES = 4 * MB


def decode(text: str, *, most_values: int, kind: Any = Any) -> Any:
    """Return the value that a text is the JSON of, as a type.

    `most_values` is the setting `max_body_values`.

    Raises:
        ValueError: it is not JSON, or does not fit the type.
        LimitError: it may be JSON, and is larger than the bounds.
    """
    body = text.encode(errors="replace")
    if body.lstrip()[:1] in (b"[", b"{"):  # all others have one value at most
        _check(body, most_values)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


def _check(body: bytes, most_values: int) -> None:
    if len(body) > _MOST_BYTES:
        what = f"is larger than {format_size(_MOST_BYTES)}"
    elif json_value_count.has_more(body, most_values):
        what = f"has more values than this control plane's max_body_values, {most_values}"
    else:
        return
    raise LimitError(
        f"a text that begins like JSON {what}",
        hint="send it as JSON, without quotes around it, or upload what is large as a file",
    )
