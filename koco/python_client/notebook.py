"""How notebooks show an execution: a piece of HTML without scripts."""

import json
from html import escape
from typing import Any

from koco.client import answers
from koco.client.client import Client
from koco.errors import KocoError
from koco.events.model import FINAL

#: The most that is shown of a result (characters).
_LONGEST = 20_000
#: What a flow's page may do in its frame: a picture from elsewhere could carry away what it says,
#: by an address that a model was talked into writing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PAGE_HEAD = f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'


def html(client: Client, fid: str) -> str:
    """Return an execution's status, its progress, and its result or error; never raise."""
    try:
        execution = client.execution(fid)
        parts = [_head(execution), _progress(execution)]
        if execution["status"] in FINAL:
            parts.append(_outcome(client, execution))
        return "".join(parts)
    except KocoError as exc:
        return f"<p><code>{escape(fid)}</code>: {escape(exc.message)}</p>"


def _head(execution: answers.Execution) -> str:
    names = f"<b>{escape(execution['flow'])}</b> <code>{escape(execution['fid'])}</code>"
    return f"<p>{names} {escape(execution['status'])}</p>"


def _progress(execution: answers.Execution) -> str:
    progress = execution.get("progress")
    if not progress:
        return ""
    done, total = progress["done"], progress["total"]
    amount = f"{done:g}" if total is None else f"{done:g} of {total:g}"
    bar = "" if not total else f'<progress value="{done:g}" max="{total:g}"></progress> '
    return f"<p>{bar}{amount} {escape(progress['message'] or '')}</p>"


def _outcome(client: Client, execution: answers.Execution) -> str:
    outcome = client.result(execution["fid"])
    if outcome["status"] == "finished":
        return _result(client, execution["fid"], outcome.get("result"))
    error = outcome.get("error") or {}
    texts = [f"{error.get('type') or ''}: {error.get('message') or ''}", error.get("traceback")]
    return _pre("\n".join(text for text in texts if text and text != ": "))


def _result(client: Client, fid: str, result: Any) -> str:
    if isinstance(result, dict) and result.get("type") in ("markdown", "html"):
        # A flow's own HTML is not trusted: it gets a frame without scripts, and no access.
        page = escape(f"{_PAGE_HEAD}{client.result_page(fid)}", quote=True)
        return f'<iframe sandbox srcdoc="{page}" style="width:100%;height:24em"></iframe>'
    return _pre(result if isinstance(result, str) else json.dumps(result, indent=2))


def _pre(text: str) -> str:
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"<pre>{escape(cut)}</pre>"
