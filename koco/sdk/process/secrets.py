"""Put a release's secrets into the process's environment, and keep them out of all its output.

The values are fetched before any of the service's code runs (`koco.sdk.worker_setup`), and go
into `os.environ` only. They are masked in events, errors and questions (`koco.events.line.mask`),
and in logs: at descriptors 1 and 2 (`koco.sdk.process.log_filter`), in `logging`, and in
tracebacks. A printed value becomes `********`, however it was quoted or encoded.
"""

import base64
import functools
import html
import json
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from koco.events import line
from koco.tokens import MASK

#: Shorter values are not masked, because ordinary texts would contain them (characters).
SHORTEST = 6
#: Lines of a multi-line value are also masked singly, from this length on (characters).
_SHORTEST_LINE = 8

#: Below this size, one pattern for all values is faster than searching for each (bytes).
_SMALL_BYTES = 512


class Masks:
    """Removes values from texts."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value)}
        #: The longest first, because one may contain another.
        self._forms = sorted(forms, key=len, reverse=True)
        #: The same as JSON encodes them, because searching encoded data costs least.
        self._encoded_forms = [msgspec.json.encode(form)[1:-1] for form in self._forms]
        self._any = re.compile(b"|".join(map(re.escape, self._encoded_forms))) if forms else None
        #: The length of the longest value (characters).
        self.longest = max(map(len, self._forms), default=0)

    @property
    def forms(self) -> list[bytes]:
        """The values to search for in bytes."""
        return [form.encode("utf-8", "surrogateescape") for form in self._forms]

    def text(self, text: str) -> str:
        """Return a text without values."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def payload(self, encoded: bytes) -> bytes:
        """Return JSON without values: in texts, keys and numbers."""
        if len(encoded) < _SMALL_BYTES:
            found = self._any is not None and self._any.search(encoded) is not None
        else:
            found = any(form in encoded for form in self._encoded_forms)
        if not found:
            return encoded
        # Decode first: in raw JSON, a value may look like a part of the syntax.
        try:
            return msgspec.json.encode(self._value(msgspec.json.decode(encoded)))
        except (RecursionError, msgspec.DecodeError):
            return json.dumps(MASK).encode()  # too deep to search, so mask everything

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {self.text(key): self._value(each) for key, each in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = str(value)
            return value if self.text(shown) == shown else MASK
        return value


def _forms(value: str) -> set[str]:
    """Return the forms of a value in a text: plain, quoted or encoded, and its single lines."""
    if len(value) < SHORTEST:
        return set()
    lines = [each.strip() for each in value.splitlines()] if "\n" in value else []
    plain = {value, *(each for each in lines if len(each) >= _SHORTEST_LINE)}
    quoted = {
        form
        for each in plain
        for form in (
            repr(each)[1:-1],
            json.dumps(each)[1:-1],
            json.dumps(each, ensure_ascii=False)[1:-1],
            quote(each, safe=""),
            quote_plus(each),
            html.escape(each),
        )
    }
    # Escaped once more, because JSON is often a string in other JSON.
    again = {json.dumps(form)[1:-1] for form in quoted}
    return plain | quoted | again | set(_encoded_forms(value))


def _encoded_forms(value: str) -> Iterator[str]:
    """Yield a value in hexadecimal and in base 64, also from the middle of longer data."""
    data = value.encode("utf-8", "surrogateescape")
    yield from (data.hex(), data.hex().upper())
    for before in range(3):
        # Leave out the characters that also depend on neighbouring bytes.
        whole = base64.b64encode(bytes(before) + data).decode()
        skipped, bits = (0, 2, 3)[before], (before + len(data)) * 8
        inner = whole[skipped : bits // 6]
        if len(inner) >= _SHORTEST_LINE:
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


#: Masks this process's secrets.
masks = Masks(())


def load(service: str, release: int) -> None:
    """Fetch the secrets of a release into this process, and keep them out of all its output.

    Raises:
        KocoError: the secrets cannot be fetched.
        OSError: the filter of the log cannot be started.
    """
    from koco.sdk.process import log_filter, release_secrets

    values = release_secrets.fetch(service, release)
    found = Masks(values.values())
    log_filter.install(found.forms)
    _mask_texts()
    set_values(values, found)


def set_values(values: dict[str, str], found: Masks) -> None:
    """Set secrets in this process's environment; `found` masks them in events and errors."""
    global masks
    masks = found
    line.mask = masks.payload
    os.environ.update(values)


def mask(text: str) -> str:
    """Return a text with the values of this process's secrets masked."""
    return masks.text(text)


@functools.cache
def _mask_texts() -> None:
    """Mask the texts that `logging` and `traceback` produce.

    Ray Serve writes its logs into files of its own, and a constructor's error appears as text in
    Serve's controller and on Ray's dashboard.
    """
    format_record = logging.Handler.format
    format_exception = traceback.TracebackException.format

    def masked_record(handler: logging.Handler, record: logging.LogRecord) -> str:
        return mask(format_record(handler, record))

    def masked_exception(exception: Any, **options: Any) -> Iterator[str]:
        # In one piece, because a value may have several lines.
        yield mask("".join(format_exception(exception, **options)))

    logging.Handler.format = masked_record  # type: ignore[method-assign, assignment]
    traceback.TracebackException.format = masked_exception  # type: ignore[assignment, method-assign]
