"""Secrets in a process: in its environment, and out of everything that it tells.

They are fetched before any code of the service's runs (`koco.sdk.worker_setup`). Values go into
`os.environ` and into nothing else. What leaves as an event, an error or a question is looked
through for them (`koco.events.line.mask`), and so is what goes into logs: by descriptors 1 and 2
(`koco.sdk.outlet`), by `logging`, in tracebacks. A value that is printed comes out as `********`,
in whichever way it was quoted or encoded.
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
from koco.sdk import worker_setup

MASK = "********"
#: Shorter values are not looked for: half of all texts would have them (characters).
SHORTEST = 6
#: Lines of a value of several lines that are looked for by themselves (characters).
_SHORTEST_LINE = 8

#: Up to here one pattern of all forms is faster than looking for each (bytes).
_SMALL_BYTES = 512


class Masks:
    """Takes values out of texts."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value)}
        #: The longest first: one may be a part of another.
        self._forms = sorted(forms, key=len, reverse=True)
        #: The same as they stand in JSON, where looking for them costs least.
        self._encoded = [msgspec.json.encode(form)[1:-1] for form in self._forms]
        self._any = re.compile(b"|".join(map(re.escape, self._encoded))) if forms else None
        #: How many characters a value takes at most.
        self.longest = max(map(len, self._forms), default=0)

    @property
    def forms(self) -> list[bytes]:
        """What is looked for in bytes."""
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
            found = any(form in encoded for form in self._encoded)
        return self._masked(encoded) if found else encoded

    def _masked(self, encoded: bytes) -> bytes:
        # On what it says, not on its bytes: a value may look like a part of JSON's syntax.
        try:
            return msgspec.json.encode(self._value(msgspec.json.decode(encoded)))
        except (RecursionError, msgspec.DecodeError):
            return json.dumps(MASK).encode()  # too deep to look at: nothing of it leaves

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
    """Return a value as it may stand in a text: plain, quoted or encoded, by its lines."""
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
    # Once more: JSON is often a text in other JSON.
    again = {json.dumps(form)[1:-1] for form in quoted}
    return plain | quoted | again | set(_encoded(value))


def _encoded(value: str) -> Iterator[str]:
    """Yield a value in hexadecimal and in base 64, by itself or in the middle of something."""
    data = value.encode("utf-8", "surrogateescape")
    yield from (data.hex(), data.hex().upper())
    for before in range(3):
        # What depends on the bytes around it is left out: a whole group of three has no part in it.
        whole = base64.b64encode(bytes(before) + data).decode()
        skipped, bits = (0, 2, 3)[before], (before + len(data)) * 8
        inner = whole[skipped : bits // 6]
        if len(inner) >= _SHORTEST_LINE:
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


#: What this process tells nobody.
masks = Masks(())


def equip() -> None:
    """Fetch the secrets of this process's release, and keep them out of all that it tells.

    Raises:
        KocoError: they are not to be had.
        OSError: the filter of the log cannot be started.
    """
    from koco.sdk import outlet, release_secrets

    service, release = os.environ[worker_setup.SERVICE], int(os.environ[worker_setup.RELEASE])
    values = release_secrets.fetch(service, release)
    found = Masks(values.values())
    outlet.install(found.forms)
    _mask_texts()
    learn(values, found)


def prepare() -> None:
    """Do so: what environments that an older control plane has made have Ray call."""
    equip()


def learn(values: dict[str, str], found: Masks) -> None:
    """Set secrets in this process's environment; `found` keeps them out of events and errors."""
    global masks
    masks = found
    line.mask = masks.payload
    os.environ.update(values)


def mask(text: str) -> str:
    """Return a text without the values of this process's secrets."""
    return masks.text(text)


@functools.cache
def _mask_texts() -> None:
    """Have whatever `logging` and `traceback` make texts of lose values.

    Ray Serve writes its logs into files of its own, and what a constructor raises is a text
    in its controller, and on its dashboard.
    """
    format_record = logging.Handler.format
    format_exception = traceback.TracebackException.format

    def masked_record(handler: logging.Handler, record: logging.LogRecord) -> str:
        return mask(format_record(handler, record))

    def masked_exception(exception: Any, **options: Any) -> Iterator[str]:
        # In one piece: a value may have several lines.
        yield mask("".join(format_exception(exception, **options)))

    logging.Handler.format = masked_record  # type: ignore[method-assign, assignment]
    traceback.TracebackException.format = masked_exception  # type: ignore[assignment, method-assign]
