"""The outcomes of executions as results of tools."""

import json
import mimetypes
from typing import Any
from urllib.parse import quote

from msgspec import UNSET

from koco.api.agents.mcp import tools, versions
from koco.api.agents.mcp.asking import Ask
from koco.api.routes.executions.results import Result
from koco.errors import GLOBAL_FIELD, InputsError, KocoError
from koco.events.model import Status
from koco.store.model import Execution, File

#: The revisions whose results have no links.
_WITHOUT_LINKS = ("2024-11-05", "2025-03-26")
#: How many files a result links.
_MOST_FILES = 100


def uri_of(fid: str, *rest: str) -> str:
    """Return the URI of an execution, or of what belongs to it."""
    return "/".join((f"koco://executions/{fid}", *rest))


def file_uri(fid: str, path: str) -> str:
    """Return the URI of an execution's file."""
    return uri_of(fid, "files", quote(path))


async def of_execution(ask: Ask, execution: Execution) -> dict[str, Any]:
    """Return the result of the tool whose execution has ended."""
    meta = {"_meta": {versions.FID: execution.fid}}
    if execution.status is Status.CANCELLED:
        return _failed(f"the execution {execution.fid} was cancelled") | meta
    outcome = await ask.calls.outcome(execution)
    if execution.status is Status.ERROR:
        return _failed(_error_text(ask, outcome)) | meta
    value = None if outcome.result is UNSET else outcome.result
    files = await ask.calls.files(execution)
    content = [text(as_text(value)), *links(ask, execution.fid, files[:_MOST_FILES])]
    return {"content": content, **_structured(ask, execution, value), "isError": False, **meta}


def of_error(error: KocoError) -> dict[str, Any]:
    """Return the result of a tool whose call was refused: for the agent to read and to correct."""
    lines = lines_of(error) if isinstance(error, InputsError) else [error.message]
    lines += [f"hint: {error.hint}"] if error.hint else []
    return _failed("\n".join(lines))


def lines_of(error: InputsError) -> list[str]:
    """Return what is wrong with values, field by field."""
    return [
        message if field == GLOBAL_FIELD else f"{field}: {message}"
        for field, messages in error.errors.items()
        for message in messages
    ]


def text(value: str) -> dict[str, Any]:
    """Return a text as content."""
    return {"type": "text", "text": value}


def links(ask: Ask, fid: str, files: list[File]) -> list[dict[str, Any]]:
    """Return links to files, for clients that know links."""
    if not has_links(ask):
        return []
    return [
        link(
            file_uri(fid, each.path),
            each.path,
            kind=media_type(each.path),
            size=each.size_bytes,
        )
        for each in files
    ]


def has_links(ask: Ask) -> bool:
    """Whether a result may have links in the revision of a call."""
    return ask.version not in _WITHOUT_LINKS


def link(
    uri: str, name: str, *, size: int | None = None, kind: str | None = None
) -> dict[str, Any]:
    """Return a link to a resource."""
    kind = kind or media_type(name)
    about = {} if size is None else {"size": size}
    return {"type": "resource_link", "uri": uri, "name": name, "mimeType": kind, **about}


def media_type(path: str) -> str:
    """Return the media type of a file, as its name has it."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _failed(message: str) -> dict[str, Any]:
    return {"content": [text(message)], "isError": True}


def _error_text(ask: Ask, outcome: Result) -> str:
    error = outcome.error if isinstance(outcome.error, dict) else {}
    lines = [": ".join(str(error[key]) for key in ("type", "message") if error.get(key))]
    if ask.calls.caller.may("deploy") and error.get("traceback"):
        lines.append(str(error["traceback"]))
    return "\n".join(lines) or "the execution failed"


def as_text(value: Any) -> str:
    """Return a value as text: a text, or the body of a `koco.response`, as it is; else JSON."""
    if isinstance(value, dict) and value.keys() == {"type", "body"}:
        value = value["body"]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _structured(ask: Ask, execution: Execution, value: Any) -> dict[str, Any]:
    """Return a result as data: as the flow's schema says, or if it is an object anyway."""
    schema = schema_of(ask, execution)
    if schema is not None and not tools.fits(ask, schema):
        return {"structuredContent": {"result": value}}
    if schema is None and not isinstance(value, dict):
        return {}
    return {"structuredContent": value}


def schema_of(ask: Ask, execution: Execution) -> dict[str, Any] | None:
    """Return the schema of the results of an execution's flow, if its author has written one."""
    entries = ask.calls.parts.catalog.entries()
    found = (each.flow.output for each in entries if each.name == execution.flow)
    return next(found, None)
