"""The JSON Schema of streams: the events of executions, and the steps that commands report.

docs/stream.md describes the same for people. New kinds and keys do not break a
reader: it ignores those that it does not know, as the schema does.
"""

from typing import Any

from koco.events.model import Kind, Status
from koco.events.steps import StepKind, StepStatus

#: The schema's dialect.
DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: The contract's name. The number rises when a change breaks correct readers.
ID = "urn:koco:schema:stream:1"

_TEXT: dict[str, Any] = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
_OPTIONAL = {"type": ["string", "null"]}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


_ERROR = _object({"code": _TEXT, "message": _TEXT, "hint": _OPTIONAL}, {"detail": _OPTIONAL})

#: The object that replaces a payload that is too large (see `koco.events.line`).
_CUT = _object({"$cut": _COUNT, "$type": _TEXT, "$start": _TEXT})

#: The payloads of an execution's events, by kind; `True` is any JSON.
EVENTS: dict[str, Any] = {
    Kind.META: _object(
        {"fid": _TEXT, "flow": _TEXT, "service": _TEXT, "release": _COUNT, "user": _TEXT},
        {
            "tags": {"type": "array", "items": _TEXT},
            "schedule": _object({"cron": _TEXT, "timezone": _TEXT, "due": _TEXT}),
            "retry_of": _TEXT,
            "resume_of": _TEXT,
            "parent": _TEXT,
            "trace_id": _TEXT,
        },
    ),
    Kind.INPUTS: {"type": "object"},
    Kind.STATUS: _object(
        {"status": {"enum": [str(each) for each in Status]}},
        {
            "attempt": _COUNT,
            "not_before": _TEXT,
            "release": _COUNT,
            "resumed": _COUNT,
            "after": _OPTIONAL,
            "because": _TEXT,
            "parked": {"const": True},
            "environment_s": _SECONDS,
            "import_s": _SECONDS,
        },
    ),
    Kind.AGENT: True,
    Kind.DEBUG: _TEXT,
    Kind.STDOUT: _TEXT,
    Kind.STDERR: _TEXT,
    Kind.UPLOAD: _object(
        {"path": _TEXT, "size_bytes": _COUNT, "sha256": _SHA256, "by": _TEXT},
        {"removed": {"const": True}},
    ),
    Kind.LOCK: _object({"lid": _TEXT, "name": _TEXT, "data": True, "expires": _TEXT}),
    Kind.LEASE: _object(
        {
            "lid": _TEXT,
            "name": _TEXT,
            "outcome": {"enum": ["answered", "expired", "withdrawn"]},
        },
        {"answer": True, "by": _OPTIONAL},
    ),
    Kind.STEP: _object(
        {
            "step": _TEXT,
            "kind": {"enum": [str(each) for each in StepKind]},
            "status": {"enum": [str(each) for each in StepStatus]},
        },
        {
            "attempt": _COUNT,
            "duration_s": _SECONDS,
            "size_bytes": _COUNT,
            "preview": _TEXT,
            "error": _TEXT,
            "until": _TEXT,
            "fid": _TEXT,
        },
    ),
    Kind.ACTION: True,
    Kind.PROGRESS: _object({"done": _NUMBER}, {"total": _NUMBER, "message": _TEXT}),
    Kind.RESULT: True,
    Kind.ERROR: _object({"type": _TEXT, "message": _TEXT}, {"traceback": _TEXT}),
    Kind.FINAL: True,
}

_OF_SERVICE = {"service": _TEXT}
_OF_RELEASE = {**_OF_SERVICE, "release": _COUNT}

#: What became of a deploy on one of several control planes.
_OUTCOME = _object(
    {
        **{"context": _TEXT, "url": _TEXT},
        "status": {"enum": ["done", "failed", "untouched"]},
        "services": {
            "type": "array",
            "items": _object(
                {
                    **_OF_SERVICE,
                    "status": {
                        "enum": [
                            *("live", "starting", "failed", "unchanged", "removed"),
                            *("untouched", "unknown"),
                        ]
                    },
                    "release": {"type": ["integer", "null"]},
                    "former": {"type": ["integer", "null"]},
                }
            ),
        },
        "go_back": {"type": "array", "items": _TEXT},
    }
)

#: The payloads of the steps that commands report, by kind.
STEPS: dict[str, Any] = {
    "bundled": _object({**_OF_SERVICE, "bundle": _SHA256, "files": _COUNT, "size_bytes": _COUNT}),
    "uploaded": _object({**_OF_SERVICE, "bundle": _SHA256, "skipped": {"type": "boolean"}}),
    "plan": _object(
        {
            "items": {
                "type": "array",
                "items": _object(
                    {
                        **_OF_SERVICE,
                        "action": {"enum": ["create", "update", "remove", "unchanged"]},
                    }
                ),
            },
            "counts": {"type": "object", "additionalProperties": _COUNT},
        }
    ),
    "release": _object(_OF_RELEASE),
    "waiting": _object({**_OF_RELEASE, "doing": _TEXT, "took_s": _SECONDS}, {"waits_for": _TEXT}),
    "live": _object({**_OF_RELEASE, "took_s": _SECONDS}),
    "unchanged": _object({**_OF_RELEASE, "took_s": _SECONDS}),
    "failed": _object({**_OF_RELEASE, "took_s": _SECONDS, "error": {"type": "object"}}),
    "removed": _object(_OF_SERVICE, {"release": {"type": ["integer", "null"]}, "took_s": _SECONDS}),
    "deployed": _object(
        {"status": {"enum": ["finished", "error"]}, "took_s": _SECONDS},
        {"exit_code": {"type": "integer", "minimum": 1}, "error": _ERROR},
    ),
    "contexts": _object(
        {
            "items": {"type": "array", "items": _OUTCOME},
            "go_on": _OPTIONAL,
        }
    ),
    "check": _object(
        {
            "name": _TEXT,
            "status": {"enum": ["ok", "warning", "failed"]},
            "message": _TEXT,
            "hint": _OPTIONAL,
        }
    ),
    "status": _object(
        {"status": {"enum": ["finished", "error"]}},
        {"exit_code": {"type": "integer", "minimum": 1}, "error": _ERROR},
    ),
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one line of a stream."""
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "a line of a koco stream",
        "description": "One line of what `deploy`, `run -f`, `logs`, `doctor` and others write "
        "with --json. Lines of executions are numbered; the last line has kind `status`.",
        "type": "object",
        "properties": {
            "ts": {
                "type": "string",
                "format": "date-time",
                "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$",
            },
            "kind": {"type": "string", "minLength": 1},
            "task": {"type": "string"},
            "at": {"type": "string"},
            "fid": {"type": "string"},
            "payload": True,
            "seq": {"type": "integer", "minimum": 1},
        },
        "required": ["ts", "kind", "payload"],
        "if": {"required": ["seq"]},
        "then": {"allOf": [_payload_rule("event", kind) for kind in EVENTS]},
        "else": {"allOf": [_payload_rule("step", kind) for kind in STEPS]},
        "$defs": {
            **{f"event_{kind}": {"anyOf": [payload, _CUT]} for kind, payload in EVENTS.items()},
            **{f"step_{kind}": payload for kind, payload in STEPS.items()},
        },
    }


def _payload_rule(prefix: str, kind: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"kind": {"const": str(kind)}}},
        "then": {"properties": {"payload": {"$ref": f"#/$defs/{prefix}_{kind}"}}},
    }
