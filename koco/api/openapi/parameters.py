"""Parameters and headers by name. A name means the same in every route."""

from typing import Any

from koco import versions

#: A part of the document: OpenAPI or JSON Schema.
Schema = dict[str, Any]

ABOUT = """\
The control plane of koco: launch agentic flows on a Ray cluster, follow and answer them, deploy.

Keys and sessions go into `Authorization: Bearer …`. A key has scopes; each operation names the one
that it takes. Lists come in pages: `next` is the `cursor` of the following one. Every GET has a
HEAD. Errors are problem details (RFC 9457) with a stable `code`. Every answer has the request's id
(`X-Request-ID`).
"""

_HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_STRING: Schema = {"type": "string"}
_TEXT: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def _about(description: str, schema: Schema | None = None, **more: Any) -> Schema:
    return {"description": description, **({"schema": schema} if schema else {}), **more}


SECURITY: dict[str, Schema] = {
    "bearer": _about(
        "a key (`koco_…`) or a session's token (`kocos_…`); "
        "for files, also the token of the execution that they belong to",
        type="http",
        scheme="bearer",
    ),
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-koco_session",
        "description": "a session's token, for browsers; without TLS it is called `koco_session`. "
        "Changes need an `Origin` or `Sec-Fetch-Site` of the control plane's own",
    },
}

#: Parameters in paths.
PATH: dict[str, Schema] = {
    "fid": _about(
        "an execution: its fid, the beginning of one, or `latest`", _TEXT, example="latest"
    ),
    "name": _about(
        "a name; a flow's is `service/flow`, or `flow` if only one service has it",
        _TEXT,
        example="hello/greet",
    ),
    "service": _about("a service's name", _TEXT, example="hello"),
    "lock": _about("a lock: its lid or its name", _TEXT, example="approval"),
    "number": _about("the number of a release", {"type": "integer", "minimum": 1}, example=1),
    "sha256": _about(
        "the SHA-256 of the whole content, as 64 hexadecimal digits",
        _HASH,
        example="2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    ),
    "signature": _about("the control plane's signature of the URL", _TEXT),
    "rest": _about(
        "a path of the execution's files, in `in/` or `out/`", _TEXT, example="out/summary.txt"
    ),
    "path": _about("a path of the service's own endpoint", _TEXT, example="greet"),
}

#: Parameters in queries. The rest of their schema is in a route's signature.
QUERY: dict[str, Schema] = {
    "fid": _about("an execution: its fid, or the beginning of one; several may be given"),
    "limit": _about("the most items of a page", {"minimum": 1, "maximum": 1000}),
    "cursor": _about("the start of the page: the `next` of the previous one"),
    "flow": _about("only of this flow, by its full or short name"),
    "since": _about("only after this `seq` or this cursor, or from this time on", {"minimum": 0}),
    "threads": _about("all threads of its processes, koco's and Ray's as well"),
    "tail": _about("only this many events, the last ones", {"minimum": 0}),
    "follow": _about("continue until the final status"),
    "kind": _about("only events of these kinds, separated by commas"),
    "status": _about("only with one of these statuses, separated by commas"),
    "running": _about(
        "what happens to executions that have not ended: the service stays because of them "
        "(`refuse`), they end by themselves (`drain`), or they are cancelled (`cancel`)",
        {"enum": ["refuse", "drain", "cancel"]},
    ),
    "grace_s": _about(
        "how long cancelled executions may take to end (seconds)", {"minimum": 0, "maximum": 3600}
    ),
    "expect": _about(
        "the number of the release that is expected; another one is a conflict", {"minimum": 0}
    ),
    "active": _about("only those that have not ended"),
    "parent": _about("only those that this execution launched"),
    "again": _about("also those that were retried or resumed before"),
    "wait": _about("wait this long for news (seconds)", {"minimum": 0}),
    "who": _about("only by this key, user or agent"),
    "action": _about("only this: the id of an operation, such as `launch`"),
    "target": _about("only on this, or on something below it: `hello` finds `hello/2`"),
    "outcome": _about("`ok`, `refused`, or the code of an error"),
    "until": _about("only from before this time"),
    "service": _about("only of this service"),
    "user": _about("only launched by this key, user or agent"),
    "tag": _about("only with this tag; several must all be there"),
    "by": _about("the groups: `day`, `flow`, `user`, `status`, separated by commas"),
    "include": _about("further parts, separated by commas: `outcome`, `locks`"),
    "q": _about(
        "words that all occur in the flow's name, summary, description, author or tags",
        {"maxLength": 1000},
    ),
    "search": _about(
        'words, "phrases" and beginnings* that all occur in inputs, result or error',
        {"maxLength": 1000},
    ),
    "webhook": _about("only to this webhook, by its name"),
    "force": _about("even if live services need it"),
    "path": _about("only at or below this path"),
    "fields": _about(
        "only these members, separated by commas: of the answer, or of each item of a list",
        _STRING,
    ),
}

#: The headers of requests.
HEADERS: dict[str, Schema] = {
    "Last-Event-ID": _about(
        "the `id` of the last known event: the stream continues after it", _STRING
    ),
    "Idempotency-Key": _about(
        "a name for this request. If it is sent again under the same name, it is carried out only "
        "once and gets the same answer",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
    "If-None-Match": _about("the `ETag` of a known answer: 304 if it is still the same", _STRING),
    "Prefer": _about(
        "`wait=N`: answer with the outcome, if it is there within N seconds. `prefilled`: a flow "
        "that was written for Kodosumi also gets the values that its form shows at first",
        _STRING,
        example="wait=10",
    ),
    "Webhook": _about(
        "a URL that is told of this execution: see docs/webhooks.md",
        _STRING,
        example="https://example.com/hook",
    ),
    "traceparent": _about(
        "the span that the launch belongs below, as W3C defines it; an invalid one is ignored",
        _STRING,
        example="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    "tracestate": _about("what tracing systems add to `traceparent`", _STRING, example="rojo=1"),
    "Webhook-On": _about(
        "what it is told of: statuses, separated by commas", _STRING, example="finished,error"
    ),
    "Webhook-Secret": _about("its secret, `whsec_…`; a new one by default", _STRING),
    "Range": _about("`bytes=N-`: the content from byte N on", _STRING, example="bytes=0-"),
    "Upload-Offset": _about(
        "the position of the body's first byte in the whole", _COUNT, required=True
    ),
    "Upload-Length": _about("the size of the whole (bytes)", _COUNT, required=True),
}

#: The headers of answers.
ANSWERED: dict[str, Schema] = {
    "X-Request-ID": _about("the request's id: its own, or a new one", _STRING),
    versions.HEADER: _about("the control plane's version of koco", _STRING),
    "X-Koco-Fid": _about("the whole fid", _STRING),
    "X-Koco-Executions": _about("how many executions are in the stream at first", _COUNT),
    "ETag": _about("a tag of this answer, for `If-None-Match`", _STRING),
    "Retry-After": _about("when to try again (seconds)", _COUNT),
    "Content-Range": _about("the position of these bytes in the whole", _STRING),
    "Upload-Offset": _about("how much of it has arrived (bytes)", _COUNT),
    "Upload-Complete": _about("`?1` if all of it has arrived, else `?0`", {"enum": ["?0", "?1"]}),
    "Location": _about("the URL of the created object", _STRING),
    "Preference-Applied": _about("the part of `Prefer` that was followed", _STRING),
}

#: Headers that every answer has.
ALWAYS = ("X-Request-ID", versions.HEADER)
