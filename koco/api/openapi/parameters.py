"""Parameters and headers by name. A name means the same in every route."""

from typing import Any

from koco import versions

ABOUT = """\
The control plane of koco: launch agentic flows on a Ray cluster, follow and answer them, deploy.

Keys and sessions go into `Authorization: Bearer …`. What a key may do is its scopes: each
operation names the one that it takes. Lists come in pages: `next` is the `cursor` of the
following one. Where there is GET, there is HEAD. Errors are problem details (RFC 9457) with a
stable `code`. Every answer tells the request's id (`X-Request-ID`).
"""

SECURITY: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "a key (`koco_…`) or a session's token (`kocos_…`); "
        "for files, also the token of the execution that they are of",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-koco_session",
        "description": "a session's, for browsers; `koco_session` where there is no TLS. "
        "Changes need an `Origin` or `Sec-Fetch-Site` of the control plane's own",
    },
}

_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}

#: Parameters in paths.
PATH: dict[str, dict[str, Any]] = {
    "fid": {
        "description": "an execution: its fid, the beginning of one, or `latest`",
        "schema": _TEXT,
        "example": "latest",
    },
    "name": {
        "description": "a name; a flow's is `service/flow`, or `flow` where only one has it",
        "schema": _TEXT,
        "example": "hello/greet",
    },
    "service": {"description": "a service's name", "schema": _TEXT, "example": "hello"},
    "lock": {"description": "a lock: its lid or its name", "schema": _TEXT, "example": "approval"},
    "number": {
        "description": "the number of a release",
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "sha256": {
        "description": "the SHA-256 of the whole content, as 64 hexadecimal digits",
        "schema": _HASH,
        "example": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    },
    "signature": {"description": "of the URL, by the control plane", "schema": _TEXT},
    "rest": {
        "description": "a path of the execution's files, in `in/` or `out/`",
        "schema": _TEXT,
        "example": "out/summary.txt",
    },
    "path": {
        "description": "a path of the service's own endpoint",
        "schema": _TEXT,
        "example": "greet",
    },
}

#: Parameters in queries, beyond the facts in a route's signature.
QUERY: dict[str, dict[str, Any]] = {
    "limit": {
        "description": "how many items a page has at most",
        "schema": {"minimum": 1, "maximum": 1000},
    },
    "cursor": {"description": "where the page begins: the `next` of the one before it"},
    "flow": {"description": "of this flow only, by its full or short name"},
    "since": {
        "description": "what comes after this `seq` or this cursor, or is of this time or later",
        "schema": {"minimum": 0},
    },
    "threads": {"description": "all threads of its processes, koco's and Ray's as well"},
    "tail": {"description": "the last so many events", "schema": {"minimum": 0}},
    "follow": {"description": "go on until the final status"},
    "kind": {"description": "events of these kinds only, separated by commas"},
    "status": {"description": "with one of these statuses only, separated by commas"},
    "running": {
        "description": "what becomes of executions that have not ended: they keep the service "
        "(`refuse`), end by themselves (`drain`) or are cancelled (`cancel`)",
        "schema": {"enum": ["refuse", "drain", "cancel"]},
    },
    "grace_s": {
        "description": "how long cancelled executions may take over ending (seconds)",
        "schema": {"minimum": 0, "maximum": 3600},
    },
    "expect": {
        "description": "the number of the release that is there; another one is a conflict",
        "schema": {"minimum": 0},
    },
    "active": {"description": "without those that have ended"},
    "wait": {"description": "wait for news so long (seconds)", "schema": {"minimum": 0}},
    "who": {"description": "by this key, user or agent only"},
    "action": {"description": "this only: the id of an operation, such as `launch`"},
    "target": {"description": "on this only, or on what is below it: `hello` finds `hello/2`"},
    "outcome": {"description": "`ok`, `refused`, or the code of an error"},
    "until": {"description": "from before this time only"},
    "service": {"description": "of this service only"},
    "user": {"description": "launched by this key, user or agent only"},
    "tag": {"description": "with this tag; of several, with all of them"},
    "search": {
        "description": 'words, "phrases" and beginnings* that are all in inputs, result or error',
        "schema": {"maxLength": 1000},
    },
    "force": {"description": "whatever needs it"},
    "path": {"description": "what is at or below this path only"},
    "fields": {
        "description": "these members only, separated by commas: of what is shown, or of each item",
        "schema": {"type": "string"},
    },
}

#: The headers of requests.
HEADERS: dict[str, dict[str, Any]] = {
    "Last-Event-ID": {
        "description": "the `seq` of the last event that is known: the stream goes on after it",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Idempotency-Key": {
        "description": "a name for this request: sent again under it, it is carried out once, "
        "and answered as it was",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    "If-None-Match": {
        "description": "the `ETag` of what is known: 304 where that is still so",
        "schema": {"type": "string"},
    },
    "Prefer": {
        "description": "`wait=N`: answer with the outcome, if it is there within N seconds",
        "schema": {"type": "string"},
        "example": "wait=10",
    },
    "Range": {
        "description": "`bytes=N-`: the content from byte N on",
        "schema": {"type": "string"},
        "example": "bytes=0-",
    },
    "Upload-Offset": {
        "description": "which byte of the whole the body begins with",
        "schema": {"type": "integer", "minimum": 0},
        "required": True,
    },
    "Upload-Length": {
        "description": "how many bytes the whole has",
        "schema": {"type": "integer", "minimum": 0},
        "required": True,
    },
}

#: The headers of answers.
ANSWERED: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "the request's id: the one that it brought, or a new one",
        "schema": {"type": "string"},
    },
    versions.HEADER: {"description": "the control plane's koco", "schema": {"type": "string"}},
    "X-Koco-Fid": {"description": "the whole fid", "schema": {"type": "string"}},
    "ETag": {"description": "what `If-None-Match` takes", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "when to try again (seconds)",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Content-Range": {"description": "which bytes these are", "schema": {"type": "string"}},
    "Upload-Offset": {
        "description": "how much of it is here (bytes)",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Upload-Complete": {
        "description": "`?1` where that is all of it, else `?0`",
        "schema": {"enum": ["?0", "?1"]},
    },
    "Location": {"description": "where it is now", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "the `Prefer` that was followed, as far as it was",
        "schema": {"type": "string"},
    },
}

#: Headers that every answer has.
ALWAYS = ("X-Request-ID", versions.HEADER)
