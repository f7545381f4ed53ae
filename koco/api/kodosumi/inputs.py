"""Inputs of Kodosumi's clients, as koco's flows take them."""

from typing import Any

from koco.api.http.request import Request
from koco.api.kodosumi.shapes import uploaded
from koco.control.executions.files import MARK
from koco.control.services.catalog import Entry
from koco.control.storage.chunked import Content
from koco.errors import InputsError, KocoError, UsageError
from koco.forms import Checkbox, InputFiles, Model
from koco.manifest.descriptions import KODOSUMI


async def translate(request: Request, entry: Entry, given: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a launch: uploads become files, and a missing checkbox is off.

    Names that the form does not have are left out, as Kodosumi does.

    Raises:
        InputsError: an upload is missing or incomplete.
    """
    if entry.form is None:
        return given
    found = dict(given) if entry.flow.dialect == KODOSUMI else fit(entry.form, given)
    for field in entry.form.fields:
        if isinstance(field, InputFiles) and field.name in found:
            found[field.name] = await _files(request, field, found[field.name])
    return found


def fit(form: Model, given: dict[str, Any]) -> dict[str, Any]:
    """Return inputs as koco's own forms take them: no other names, each checkbox set."""
    names = {*form.field_names, *form.actions}
    found = {name: value for name, value in given.items() if name in names and value is not None}
    off = {each.name: False for each in form.fields if isinstance(each, Checkbox)}
    return {**off, **found}


async def finish_upload(
    request: Request, upload_id: str, item: uploaded.Item, batch_id: str | None
) -> Content:
    """Complete one of the caller's uploads; return its content.

    Raises:
        UsageError: it belongs to another batch, or has another number of chunks.
        KocoError: see `ChunkedUploads.finish`.
    """
    upload, content = await request.parts.chunked.finish(request.auth.owner, upload_id)
    if batch_id and upload.batch_id and upload.batch_id != batch_id:
        raise UsageError(f"{item.filename!r} belongs to another batch")
    if item.total_chunks not in (-1, upload.total_chunks):
        raise UsageError(
            f"Not all chunks uploaded: {item.filename!r} has {upload.total_chunks} chunks,"
            f" not {item.total_chunks}"
        )
    return content


async def _files(request: Request, field: InputFiles, value: Any) -> Any:
    """Complete the uploads that a file field names; return them as koco's launches name files."""
    if value == "":
        return None
    named = uploaded.read(value, most_values=request.parts.settings.max_body_values)
    if named is None:
        return value
    files = []
    try:
        for upload_id, item in named.items.items():
            content = await finish_upload(request, upload_id, item, named.batch_id)
            files.append({MARK: {"name": item.filename, "sha256": content.sha256}})
    except KocoError as exc:
        if exc.http_status >= 429:
            raise
        raise InputsError(**{field.name: exc.message}) from exc
    if field.is_list or len(files) > 1:
        return files
    return files[0] if files else None
