"""Events in Kodosumi's shape: the text after the time stamp, as JSON or as HTML."""

import time
from typing import Any

import msgspec

from koco.api.kodosumi.shapes import facts, payloads, safe_html, yaml_text
from koco.api.kodosumi.shapes.facts import Facts
from koco.errors import LimitError
from koco.events.model import Kind, Status

#: The kinds of the streams `/outputs/main` and `/outputs/stdio`.
MAIN = frozenset(
    {
        *(Kind.META, Kind.INPUTS, Kind.AGENT, Kind.STATUS, Kind.ERROR, Kind.ACTION),
        *(Kind.RESULT, Kind.FINAL, Kind.LOCK, Kind.LEASE),
    }
)
STDIO = frozenset({Kind.ERROR, Kind.STDOUT, Kind.STDERR, Kind.DEBUG, Kind.UPLOAD})

_TEXTS = frozenset({Kind.DEBUG, Kind.STDOUT, Kind.STDERR})
#: Kinds whose payload is any value.
_VALUES = frozenset({Kind.RESULT, Kind.ACTION, Kind.FINAL, Kind.AGENT, Kind.INPUTS})
_SHOWN = frozenset({Kind.RESULT, Kind.ACTION, Kind.FINAL})
#: Kinds whose payload becomes HTML or YAML, which may take seconds even if it is short.
_CONVERTED = _SHOWN | {Kind.INPUTS}
#: The most processor time for the HTML of one stream (seconds). Later events are shown as they
#: are. A million characters of prose take ten.
_STREAM_S = 20.0


class Translator:
    """Translates the events of one execution, in their order."""

    def __init__(self, about: Facts, *, as_html: bool = False) -> None:
        self._about = about
        self._as_html = as_html
        self._status = ""
        self._left_s = _STREAM_S

    def converts(self, kind: str) -> bool:
        """Return whether events of a kind become HTML or YAML, which may take long."""
        return self._as_html and kind in _CONVERTED

    def translate(self, event: dict[str, Any]) -> str | None:
        """Return the text of an event, or None if Kodosumi has no such event."""
        kind, payload = event["kind"], event["payload"]
        if kind == Kind.STATUS:
            return self._translate_status(payload)
        if kind in _TEXTS:
            text = payload if isinstance(payload, str) else payloads.serialize(payload)
            is_terminals = self._as_html and kind != Kind.DEBUG
            return safe_html.from_terminal(text) if is_terminals else text
        if kind in _VALUES:
            return self._translate_value(kind, payload)
        if kind == Kind.PROGRESS:
            return None
        return _translate_object(kind, payload, event["ts"], self._about)

    def _translate_status(self, payload: dict[str, Any]) -> str | None:
        status = Status(payload["status"])
        text = facts.status_of(status)
        # `awaiting` shows in the locks; koco's `queued` and `starting` are one status there.
        if status is Status.AWAITING or text == self._status:
            return None
        self._status = text
        return text

    def _translate_value(self, kind: str, payload: Any) -> str:
        if not self.converts(kind):
            return payloads.serialize(payload)
        began = time.thread_time()
        render = to_html if kind in _SHOWN else _to_yaml
        text = render(payload, most_s=min(safe_html.MOST_S, self._left_s))
        self._left_s -= time.thread_time() - began
        return text


def to_html(value: Any, *, most_s: float = safe_html.MOST_S) -> str:
    """Return a value as harmless HTML; as it is, if it would take longer than `most_s` seconds."""
    if most_s <= 0:
        return safe_html.as_is(payloads.serialize(value))
    return "\n".join(_html_of(name, each, most_s) for name, each in payloads.wrap(value).items())


def _to_yaml(value: Any, *, most_s: float) -> str:
    """Return a value as YAML; as JSON, which YAML includes, if that would take too long."""
    text = payloads.serialize(value)
    if most_s <= 0 or len(text) > safe_html.LONGEST:
        return text
    try:
        return yaml_text.to_yaml(payloads.wrap(value), most_s=most_s)
    except (LimitError, RecursionError):
        return text


def _html_of(name: str, value: Any, most_s: float) -> str:
    body = value.get("body") if isinstance(value, dict) else None
    if isinstance(body, str) and name == "Markdown":
        return safe_html.from_markdown(body, most_s=most_s)
    if isinstance(body, str) and name == "HTML":
        return safe_html.clean(body)
    if isinstance(body, str) and name == "Text":
        return f"<blockquote><code>{safe_html.from_terminal(body)}</code></blockquote>"
    shown = _main_text(name, value)
    head = f'<div class="info-l1"><span class="info-text">{safe_html.from_terminal(name)}</span>'
    if shown is not None:
        return f"{head}</div>\n{safe_html.from_markdown(shown, most_s=most_s)}"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"{head}</div>\n<pre>{safe_html.from_terminal(text)}</pre>"


def _main_text(name: str, value: Any) -> str | None:
    """Return the text of an output of CrewAI, which is Markdown; None for other values."""
    if name in ("dict", "__list__") or not isinstance(value, dict):
        return None
    texts = (value.get(key) for key in ("raw", "text", "output", "result"))
    return next((each for each in texts if isinstance(each, str) and each), None)


def _translate_object(kind: str, payload: Any, stamp: str, about: Facts) -> str | None:
    """Return the text of an event whose payload has members of koco's own."""
    if not isinstance(payload, dict) or "$cut" in payload:
        return payloads.serialize(payload)
    if kind == Kind.META:
        return payloads.serialize(msgspec.to_builtins(about))
    if kind == Kind.ERROR:
        return _error_text(payload)
    if kind == Kind.LOCK:
        found = {name: payload.get(name) for name in ("name", "lid", "data")}
        return payloads.serialize({**found, "expires": facts.seconds(payload["expires"])})
    if kind == Kind.LEASE:
        found = {name: payload.get(name) for name in ("name", "lid")}
        return payloads.serialize({**found, "result": payload.get("answer")})
    if kind == Kind.UPLOAD:
        return _translate_upload(payload, stamp)
    return payloads.serialize(payload)


def _error_text(error: dict[str, Any]) -> str:
    """Return an error's traceback and its message.

    The traceback of an exception ends with its message. That of a flow whose runner died, or whose
    time was over, is only the place where it was.
    """
    text, traceback = facts.error_text(error), str(error.get("traceback") or "")
    if not traceback:
        return text
    is_said = str(error.get("message") or text).strip() in traceback
    return traceback if is_said else f"{traceback.rstrip()}\n{text}"


def _translate_upload(payload: dict[str, Any], stamp: str) -> str | None:
    if payload.get("removed"):
        return None
    file = {"path": payload.get("path"), "size": payload.get("size_bytes")}
    file["last_modified"] = facts.seconds(stamp)
    return msgspec.json.encode({"Upload": {"files": [file]}}).decode()
