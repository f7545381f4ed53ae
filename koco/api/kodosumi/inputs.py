"""Inputs of Kodosumi's clients, as koco's flows take them."""

from typing import Any

from koco.api.http.request import Request
from koco.api.kodosumi.shapes import uploaded
from koco.control.executions.files import MARK
from koco.control.services.catalog import Entry
from koco.errors import InputsError, KocoError, UsageError
from koco.forms import Checkbox, InputFiles
from koco.manifest.descriptions import KODOSUMI


async def translate(request: Request, entry: Entry, given: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a launch: uploads become files, and a missing checkbox is off.

    Names that the form does not have are left out, as Kodosumi does.

    Raises:
        InputsError: an upload is missing or incomplete.
    """
    if entry.form is None:
        return given
    names = {*entry.form.field_names, *entry.form.actions}
    found = {
        name: value
        for name, value in given.items()
        if entry.flow.dialect == KODOSUMI or (name in names and value is not None)
    }
    for field in entry.form.fields:
        if isinstance(field, InputFiles) and field.name in found:
            found[field.name] = await _files(request, field, found[field.name])
        elif isinstance(field, Checkbox) and entry.flow.dialect != KODOSUMI:
            found.setdefault(field.name, False)
    return found


async def _files(request: Request, field: InputFiles, value: Any) -> Any:
    """Complete the uploads that a file field names; return them as koco's launches name files."""
    if value == "":
        return None
    named = uploaded.read(value)
    if named is None:
        return value
    uploads = request.parts.chunked
    files = []
    try:
        for upload_id, item in named.items.items():
            upload, content = await uploads.finish(request.auth.owner, upload_id)
            if named.batch_id and upload.batch_id and upload.batch_id != named.batch_id:
                raise UsageError(f"{item.filename!r} belongs to another batch")
            if item.total_chunks not in (-1, upload.total_chunks):
                raise UsageError(f"{item.filename!r} has {upload.total_chunks} chunks")
            files.append({MARK: {"name": item.filename, "sha256": content.sha256}})
    except KocoError as exc:
        if exc.http_status >= 429:
            raise
        raise InputsError(**{field.name: exc.message}) from exc
    if field.is_list or len(files) > 1:
        return files
    return files[0] if files else None
