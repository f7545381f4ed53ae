"""Short texts of arguments and results, for people: at most 200 characters, without secrets."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from koco import tokens
from koco.events import line, values
from koco.events.text_values import str_of
from koco.sdk.process import ray_errors

#: How long a text is at most (characters).
LONGEST = 200
#: How much of a value is looked at: characters of a text, parts of a container, levels.
_CHARS, _PARTS, _LEVELS = 8192, 50, 5


def of_value(value: Any) -> str:
    """Return the beginning of a value's JSON."""
    return _shorten(_json(value))


def of_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return the beginning of a call's arguments, as `1, "a", name=true`."""
    shown = [_json(each) for each in args[:_PARTS]]
    shown += [f"{name}={_json(each)}" for name, each in islice(kwargs.items(), _PARTS)]
    return _shorten(", ".join(shown))


def of_error(exc: BaseException) -> str:
    """Return the type and the beginning of the message of an exception."""
    exc = ray_errors.author_exception(exc)
    message = str_of(exc)
    text = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
    # As JSON and back, because that is how secrets are masked.
    return _shorten(_json(text)[1:-1].replace("\\n", " ").replace('\\"', '"'))


def _json(value: Any) -> str:
    text = line.encode_payload(_part(value, _LEVELS)).decode()
    return tokens.mask_all(text) if "koco" in text else text


def _part(value: Any, levels: int) -> Any:
    """Return a value's beginning: the whole of it may have megabytes.

    A cut runs far behind what is shown, so half a secret is never seen.
    """
    kind = type(value)
    if kind in (str, bytes):
        return value[:_CHARS]
    if kind is dict:
        if not levels:
            return {}
        return {key: _part(each, levels - 1) for key, each in islice(value.items(), _PARTS)}
    if kind in (list, tuple):
        return [_part(each, levels - 1) for each in value[:_PARTS]] if levels else []
    if not values.has_conversion(kind):
        return f"<{getattr(value, '__name__', kind.__name__)}>"
    return value


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
