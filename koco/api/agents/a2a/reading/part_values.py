"""What the parts of a message mean: the inputs of a flow, or the answer to a lock.

Data parts are values by field. Text is the value of the one text field that has none yet, or the
values as JSON. Files are the values of file fields.
"""

import base64
import binascii
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from koco.api.agents.a2a.faults import CONTENT_TYPE, A2AError, violated
from koco.api.agents.a2a.reading import bodies
from koco.api.agents.a2a.reading.requests import Part
from koco.api.http import json_text
from koco.forms import InputArea, InputFiles, InputPassword, InputText, Model

#: Keeps a file's content, given its name, and returns the value of a file field that stands for it.
Keep = Callable[[str, bytes], Awaitable[Any]]

#: The name of a text for a flow that takes any JSON object.
_TEXT = "text"
#: The member of a part's metadata that names the field which it is the value of.
_FIELD = "field"


async def inputs(
    parts: Sequence[Part], form: Model | None, keep: Keep, *, most_values: int
) -> dict[str, Any]:
    """Return the inputs in a message.

    Raises:
        A2AError: a part cannot be understood, or has a type that the flow does not take.
        LimitError: the JSON in a text has more than `most_values`, or is too large.
    """
    values = _fields(parts, form, most_values)
    _refuse_paths(form, values)
    files = [(at, part) for at, part in enumerate(parts) if part.kind in ("raw", "url")]
    if files and not _file_fields(form):
        raise A2AError(
            CONTENT_TYPE,
            f"message.parts[{files[0][0]}] is a file, and this flow takes none",
            hint="the agent card's defaultInputModes say what it takes",
        )
    for at, part in files:
        field = _file_field(f"message.parts[{at}]", part, form, values)
        value = part.url if part.kind == "url" else await keep(_name(at, part), _bytes(at, part))
        if field.is_list:
            values.setdefault(field.name, []).append(value)
        else:
            values[field.name] = value
    return values


def answer(parts: Sequence[Part], form: Model | None, *, most_values: int) -> Any:
    """Return the answer in a message. Without a form it may be any JSON value, also a text.

    Raises:
        A2AError: a part cannot be understood, or is a file.
        LimitError: as `inputs`.
    """
    for at, part in enumerate(parts):
        if part.kind in ("raw", "url"):
            raise A2AError(CONTENT_TYPE, f"message.parts[{at}] is a file: an answer has none")
    if form is not None:
        return _fields(parts, form, most_values)
    if len(parts) == 1 and parts[0].kind == "data":
        return parts[0].data
    if all(part.kind == "text" for part in parts):
        text = _joined(parts)
        return _decoded(0, text, most_values) if _is_json(parts[0]) else text
    return _fields(parts, None, most_values)


def _fields(parts: Sequence[Part], form: Model | None, most_values: int) -> dict[str, Any]:
    """Return the values by field in the parts that are no files."""
    values: dict[str, Any] = {}
    for at, part in enumerate(parts):
        _check_type(at, part)
        if part.kind == "data" or (part.kind == "text" and _is_json(part)):
            found = part.data
            if part.kind == "text":
                found = _decoded(at, str(part.text), most_values)
            if not isinstance(found, dict):
                raise violated(f"message.parts[{at}]", "its data must be an object: field → value")
            values |= found
    texts = [part for part in parts if part.kind == "text" and not _is_json(part)]
    if not texts:
        return values
    text = _joined(texts)
    return values | _by_text(text, _object(text, most_values), form, values)


def _by_text(
    text: str, found: dict[str, Any] | None, form: Model | None, values: dict[str, Any]
) -> dict[str, Any]:
    """Return the values that a text gives: those of an object in JSON, or of a field of text."""
    if form is None:
        return {_TEXT: text} if found is None else found
    if found is not None and found.keys() <= set(form.field_names) | form.actions.keys():
        return found
    fields = [
        each
        for each in form.fields
        if isinstance(each, InputText | InputArea)
        and not isinstance(each, InputPassword)
        and each.name not in values
    ]
    required = [each for each in fields if each.is_required]
    for fitting in (required, fields):
        if len(fitting) == 1:
            return {fitting[0].name: text}
    names = ", ".join(form.field_names) or "no fields"
    raise violated(
        "message.parts",
        "which field the text is the value of is not clear",
        hint=f"send a data part with values by field: {names}",
    )


def _check_type(at: int, part: Part) -> None:
    kind = bodies.kind_of(part.media_type)
    fits = {"text": _is_json(part) or kind.startswith("text/"), "data": _is_json(part)}
    if kind and not fits.get(part.kind, True):
        raise A2AError(
            CONTENT_TYPE, f"message.parts[{at}]: {part.media_type[:80]!r} is no type of its content"
        )


def _is_json(part: Part) -> bool:
    return bodies.is_json(part.media_type)


def _joined(parts: Sequence[Part]) -> str:
    return "\n".join(str(part.text) for part in parts)


def _object(text: str, most_values: int) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json_text.decode(text, most_values=most_values)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _decoded(at: int, text: str, most_values: int) -> Any:
    try:
        return json_text.decode(text, most_values=most_values)
    except ValueError as exc:
        raise violated(f"message.parts[{at}].text", f"is not JSON: {exc}") from exc


def _file_fields(form: Model | None) -> list[InputFiles]:
    return [each for each in (form.fields if form else ()) if isinstance(each, InputFiles)]


def _refuse_paths(form: Model | None, values: dict[str, Any]) -> None:
    """Refuse texts as values of file fields, unless they are URLs: there is nothing to read there.

    Raises:
        A2AError: there is one.
    """
    for field in _file_fields(form):
        value = values.get(field.name)
        given = value if isinstance(value, list) else [value]
        if any(isinstance(each, str) and each and not _is_url(each) for each in given):
            raise violated(
                field.name,
                "is a file, which is a part of its own",
                hint="send a part with its bytes, `raw` and `filename`, or with its `url`",
            )


def _is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _file_field(where: str, part: Part, form: Model | None, values: dict[str, Any]) -> InputFiles:
    """Return the field that a file is a value of: the named one, or the first that has room."""
    fields = _file_fields(form)
    wanted = part.metadata.get(_FIELD)
    if wanted is not None:
        fields = [each for each in fields if each.name == wanted]
    free = [each for each in fields if each.is_list or each.name not in values]
    if not free:
        what = f"no file field is called {wanted!r}" if wanted else "there is no field for it"
        raise violated(where, f"{what}, or it has a file already")
    return free[0]


def _name(at: int, part: Part) -> str:
    return part.filename or f"file-{at}{mimetypes.guess_extension(part.media_type) or ''}"


def _bytes(at: int, part: Part) -> bytes:
    # ProtoJSON accepts both alphabets, with and without padding.
    text = str(part.raw).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as exc:
        raise violated(f"message.parts[{at}].raw", f"is not base64: {exc}") from exc
