"""A control plane of memory and no Ray: real HTTP for tests of the command line.

It answers as `koco.api` does as far as the commands look, and does what a test
tells it: `launch` scripts an execution, `releases` what becomes of a deploy.
"""

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from koco import __version__, versions
from koco.errors import (
    ConflictError,
    EndpointError,
    InputsError,
    KocoError,
    NotAllowedError,
    NotFoundError,
    RetriedError,
    UnauthorizedError,
    UsageError,
)
from koco.forms import FormError, Model
from tests.support.contract import contract
from tests.support.http_server import QuietServer

KEY = "koco_test"
#: The token of the session that a login begins.
TOKEN = f"kocos_{'0123456789' * 4}xyz"
#: Settings, and their defaults.
SETTINGS: dict[str, Any] = {
    **{"max_running": 0, "max_body_mb": 16.0, "api_docs": False},
    **{"cors_origins": []},
}
_PROBLEM = "application/problem+json"
FINAL = ("finished", "error", "cancelled")
_DONE = {"cancel": "cancelled", "retry": "retried", "resume": "resumed"}
TS = "2026-01-31T12:00:00.123456Z"
LATER = "2999-01-31T12:00:00.123456Z"


@dataclass
class Plane:
    """What the server holds; guarded by `changed`."""

    url: str = ""
    flows: dict[str, dict[str, Any]] = field(default_factory=dict)
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[bytes]] = field(default_factory=dict)
    #: The fid of each change of an execution, in their order.
    log: list[str] = field(default_factory=list)
    bundles: dict[str, bytes] = field(default_factory=dict)
    #: By id; `answer` is what makes the final answer of what was given.
    locks: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: The names of locks whose lease fails.
    failing: set[str] = field(default_factory=set)
    #: Keys by name, and how many of their secrets were told.
    key_rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: int = 0
    #: Recorded steps, by execution, and its messages.
    recorded: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    messages: list[tuple[str, str, Any]] = field(default_factory=list)
    #: Services' secrets.
    secrets: dict[str, str] = field(default_factory=dict)
    #: The limits that were set in place of manifests', by flow.
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: The settings that were changed, as they were sent.
    settings: dict[str, Any] = field(default_factory=dict)
    #: The audit log, newest first.
    audit: list[dict[str, Any]] = field(default_factory=list)
    #: Groups of executions, counted.
    usage: list[dict[str, Any]] = field(default_factory=list)
    #: Users, and their passwords; whoever has logged in; what those who have may do.
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    logged_in: str = ""
    #: What has arrived of each blob.
    blobs: dict[str, bytes] = field(default_factory=dict)
    #: Answers to GET of a release, in turn; the last one stays.
    releases: list[dict[str, Any]] = field(default_factory=list)
    #: How the release that a deploy makes differs from one that is starting.
    begun: dict[str, Any] = field(default_factory=dict)
    #: Services whose releases never leave `starting`.
    stuck: set[str] = field(default_factory=set)
    unchanged: bool = False
    #: What a plan says of a service otherwise than that it would be created; without a
    #: manifest, of one that `--prune` removes.
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Why a release is refused, and of which services; of all, where none is named.
    crossed: KocoError | None = None
    overtaken: set[str] = field(default_factory=set)
    #: What `/v1/services` lists, and what a service has had, newest first.
    services: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    #: What a rollback goes back to, and whether the service is deployed.
    former: int | None = 2
    deployed: bool = True
    #: What of the service has not ended, one look after the other.
    running: list[dict[str, int]] = field(default_factory=list)
    #: Services that executions keep from being removed.
    busy: set[str] = field(default_factory=set)
    #: After so many lines of events the next connections are cut, one for each number.
    cuts: list[int] = field(default_factory=list)
    #: Why an execution waits, before anything else comes of it: each is told with a heartbeat, and
    #: asked for before the next one.
    beats: list[str] = field(default_factory=list)
    #: What a launch does: events for its execution.
    script: list[tuple[str, Any]] = field(default_factory=list)
    #: What a launch does, by its inputs, instead of `script`.
    script_of: Callable[[dict[str, Any]], list[tuple[str, Any]]] | None = None
    #: The fids of launches by their idempotency keys.
    launched: dict[str, str] = field(default_factory=dict)
    refuses: KocoError | None = None
    #: What the next launches and requests to retry many are refused with, the last one first.
    full: list[KocoError] = field(default_factory=list)
    #: What becomes of each answer before it is sent: what a broken control plane would say.
    twist: Callable[[Any], Any] | None = None
    #: What `/v1/status` says instead of `STATUS`.
    status: dict[str, Any] = field(default_factory=dict)
    #: Whether it breaks all connections without an answer.
    away: bool = False
    #: The runners, with what they use.
    runners: list[dict[str, Any]] = field(default_factory=list)
    #: What `/health` answers, by status code, and what the doctor finds.
    health: tuple[int, Any] = (200, {"status": "ok"})
    findings: list[dict[str, Any]] = field(default_factory=list)
    #: The idempotency keys of launches, None where there was none.
    keys: list[str | None] = field(default_factory=list)
    #: The preferences of launches, None where there was none.
    preferences: list[str | None] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    #: Which koco it says it is, and which one it was last asked by.
    version: str = __version__
    heard: str | None = None
    #: Resources that it does not have yet.
    missing: set[str] = field(default_factory=set)
    #: What was asked or answered otherwise than the API's document has it.
    violations: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def launch(self, *events: tuple[str, Any], fid: str = "", **facts: Any) -> str:
        """Make an execution with events, and the status of the last of them."""
        fid = fid or f"fid{len(self.executions):013d}"
        self.executions[fid] = {
            "fid": fid,
            "flow": "hello/greet",
            "service": "hello",
            "release": 1,
            "status": "running",
            "created": TS,
            "started": TS,
            "finished": None,
            "user": "admin",
            "tags": [],
            "inputs": {"who": "Ada"},
            "last_seq": 0,
            "error": None,
            **{"parent": None, "retry_of": None, "resume_of": None, "resumed": 0, "parked": False},
            **{"progress": None, "used": None},
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            **facts,
        }
        self.events[fid] = []
        self.log.append(fid)
        for kind, payload in events:
            self.emit(fid, kind, payload)
        return fid

    def emit(self, fid: str, kind: str, payload: Any) -> None:
        """Add an event."""
        with self.changed:
            events, execution = self.events[fid], self.executions[fid]
            event = {"seq": len(events) + 1, "ts": TS, "kind": kind, "payload": payload}
            events.append(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode())
            execution["last_seq"] = len(events)
            self.log.append(fid)
            if kind == "status":
                execution["status"] = payload["status"]
            if kind in ("final", "error"):
                execution["outcome"] = payload
            self.changed.notify_all()

    def plan(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return what a deploy would do, as the test says."""
        base: dict[str, Any] = {"action": "create", "release": None, "starting": None, "expect": 0}
        base |= {"bundle": None, "parts": [], "changes": [], "files": []}
        base |= {"problems": [], "warnings": []}
        if self.unchanged:
            base |= {"action": "unchanged", "release": 3, "expect": 3}
        names = [each["manifest"]["service"] for each in data["services"]]
        gone = [name for name in self.steps if data["prune"] and name not in names]
        items = [{"service": name, **base, **self.steps.get(name, {})} for name in names + gone]
        actions = [item["action"] for item in items]
        counts = {key: actions.count(key) for key in ("create", "update", "remove", "unchanged")}
        return {"items": items, "next": None, "counts": counts}

    def bundled(self) -> list[dict[str, str]]:
        """Return the files of each bundle that is here, by name, but koco's own."""
        archives = [zipfile.ZipFile(io.BytesIO(content)) for content in self.bundles.values()]
        return [
            {name: each.read(name).decode() for name in each.namelist()[1:]} for each in archives
        ]

    def service(self, name: str) -> dict[str, Any]:
        """Return a service, and what of it has not ended."""
        if name == "nobody":
            raise NotFoundError(f"no service is called {name!r}")
        told = {"service": name, "release": 3, "status": "live", "flows": ["greet", "other"]}
        running = self.running[0] if self.running else {}
        more = {"deployed": self.deployed, "former": self.former}
        more["expect"] = 3 if self.deployed else 0
        return {**told, **more, "executions": running, "parked": running.get("sleeping", 0)}

    def step(self, fid: str, key: str, status: str = "finished", **facts: Any) -> None:
        """Record a step of an execution."""
        steps = self.recorded.setdefault(fid, [])
        steps.append(
            {
                **{"key": key, "name": key.partition(":")[0], "kind": "step", "status": status},
                **{"position": len(steps) + 1, "attempt": 1, "failures": 0, "started": TS},
                **{"duration_s": 1.24, "size_bytes": 2048, "arguments": "()", "preview": "'x'"},
                **{"due": None, "child": None},
                **facts,
            }
        )

    def lock(self, fid: str, name: str = "approval", data: Any = None, *, form: Any = None) -> str:
        """Have an execution ask a person; return the lock's id."""
        lid = f"lid{len(self.locks)}"
        execution = self.executions[fid]
        self.locks[lid] = {
            "lid": lid,
            **{key: execution[key] for key in ("fid", "flow", "service", "release")},
            **{"name": name, "data": data, "status": "open", "created": TS, "expires": LATER},
            **{"answer": None, "settled": None, "by": None, "form": form},
        }
        told = {"lid": lid, "name": name, "data": data, "expires": LATER}
        self.emit(fid, "lock", told)
        if execution["status"] != "awaiting":
            self.emit(fid, "status", {"status": "awaiting"})
        return lid

    def answer(self, lid: str, value: Any, by: str = "admin") -> dict[str, Any]:
        """Answer a lock, as its form takes it."""
        lock = self.locks[lid]
        if lock["status"] != "open":
            what = f"the lock {lock['name']!r} ({lid}) was answered by {lock['by']} at {TS}"
            raise ConflictError(what, hint="the first answer counts")
        if lock["name"] in self.failing:
            raise EndpointError(f"the lease of {lock['name']!r} raised RuntimeError")
        if lock["form"] is not None:
            value = Model.from_list(lock["form"]).validate(value)
        lock.update(status="answered", answer=value, settled=TS, by=by)
        lease = {"lid": lid, "name": lock["name"], "outcome": "answered", "answer": value, "by": by}
        self.emit(lock["fid"], "lease", lease)
        if not any(each["status"] == "open" for each in self.locks_of(lock["fid"])):
            self.emit(lock["fid"], "status", {"status": "running"})
        return lock

    def locks_of(self, fid: str) -> list[dict[str, Any]]:
        """Return an execution's locks."""
        return [lock for lock in self.locks.values() if lock["fid"] == fid]

    def find_lock(self, fid: str, name: str) -> dict[str, Any]:
        """Return a lock by id or name."""
        fits = [each for each in self.locks_of(fid) if name in (each["lid"], each["name"])]
        if not fits:
            raise NotFoundError(f"execution {fid} has no lock {name!r}")
        return fits[-1]

    def limits(self, name: str) -> dict[str, Any]:
        """Return the limits of a flow, by its short name."""
        manifest = {"running": None, "queue": None}
        override = self.overrides.get(name)
        now = {key: (override or {}).get(key) for key in manifest}
        flow = self.flows[name]["name"]
        return {"flow": flow, **now, "manifest": manifest, "override": override}

    def setting(self, name: str) -> dict[str, Any]:
        """Return a setting with its default."""
        usual = SETTINGS[name]
        is_set = self.settings.get(name) is not None
        value = self.settings[name] if is_set else usual
        return {"name": name, "value": value, "default": usual, "is_set": is_set}

    def end(self, fid: str, status: str) -> None:
        """End an execution."""
        self.emit(fid, "status", {"status": status})

    def key(self, name: str, **facts: Any) -> dict[str, Any]:
        """Make a key."""
        expires = LATER if facts.pop("expires_s", None) else None
        last = {"former_until": None, "last_used": None, "last_from": None}
        told = {"name": name, "status": "active", "created": TS, "by": "admin"}
        self.key_rows[name] = {**told, **facts, "expires": expires, **last}
        return self.key_rows[name]

    def secret(self, name: str) -> str:
        """Return another secret of a key."""
        self.told += 1
        return f"koco_{name}-{self.told}".ljust(48, "x")

    def wait_for(self, part: str) -> None:
        """Wait until a request has come whose path has `part` in it."""
        deadline = time.monotonic() + 60
        while not any(part in path for _, path, _ in self.requests):
            assert time.monotonic() < deadline, f"no request for {part}"
            time.sleep(0.01)

    def find(self, fid: str) -> dict[str, Any]:
        """Return an execution by fid, prefix or `latest`."""
        if fid == "latest" and self.executions:
            return list(self.executions.values())[-1]
        found = [each for name, each in self.executions.items() if name.startswith(fid)]
        if not found:
            raise NotFoundError(f"no execution is called {fid!r}")
        if len(found) > 1:
            raise ConflictError(f"{fid!r} fits several")
        return found[0]


@contextmanager
def serving() -> Iterator[Plane]:
    """Serve a plane on a free port."""
    plane = Plane()
    handler = type("Handler", (_Handler,), {"plane": plane})
    server = QuietServer(("127.0.0.1", 0), handler)
    plane.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield plane
    finally:
        server.shutdown()
        server.server_close()
    assert not plane.violations, plane.violations


class _Handler(BaseHTTPRequestHandler):
    plane: Plane
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def end_headers(self) -> None:
        self.send_header(versions.HEADER, self.plane.version)
        super().end_headers()

    def _handle(self) -> None:
        body = self._body()
        if self.plane.away:
            self.close_connection = True
            return
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")[1:]
        data = json.loads(body) if body and self.command == "POST" else body
        self.plane.requests.append((self.command, self.path, data))
        self.plane.heard = self.headers[versions.HEADER]
        self._judge(contract().check_request, dict(self.headers), body)
        try:
            if parts == []:
                self._answer(*self.plane.health)
                return
            self._require_known(parts)
            if self.plane.refuses is not None:
                raise self.plane.refuses
            if parts[0] in ("blobs", "bundles"):
                self._upload(getattr(self.plane, parts[0]), parts[1], body)
                return
            if parts == ["events"]:
                self._stream_many(query)
                return
            if parts[-1] == "events":
                self._stream(self.plane.find(parts[1])["fid"], query)
                return
            self._answer(*self._route(parts, query, data))
        except KocoError as exc:
            self._answer(exc.http_status, _problem(exc))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _stream_many(self, query: dict[str, str]) -> None:
        """Send the events of named executions, or all, as they come.

        The stream ends with all that are named, or if the client has gone.
        """
        named = parse_qs(urlsplit(self.path).query).get("fid")
        kinds = [
            b'"kind":"%b"' % each.encode() for each in query.get("kind", "").split(",") if each
        ]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("X-Koco-Executions", str(len(named or self.plane.executions)))
        self.end_headers()
        sent: dict[str, int] = {}
        while True:
            with self.plane.changed:
                lines = [
                    b'{"fid":"%b","flow":"%b",%b'
                    % (fid.encode(), self.plane.executions[fid]["flow"].encode(), event[1:])
                    for fid, events in self.plane.events.items()
                    for event in events[sent.get(fid, 0) :]
                    if named is None or fid in named
                    if not kinds or any(kind in event for kind in kinds)
                ]
                sent = {fid: len(events) for fid, events in self.plane.events.items()}
                executions = [self.plane.executions.get(fid) for fid in named or ("",)]
                is_over = all(each and each["status"] in FINAL for each in executions)
                if is_over:
                    lines.append(b'{"cursor":"c","end":true}')
                elif not lines:
                    self.plane.changed.wait(0.2)
            self.wfile.write(b"\n".join(lines) + b"\n")  # without lines it is a heartbeat
            self.wfile.flush()
            if is_over:
                self.close_connection = True
                return

    def _judge(self, check: Any, *about: Any) -> None:
        """Note what is otherwise than the API's document has it."""
        try:
            check(self.command, self.path, *about)
        except AssertionError as exc:
            self.plane.violations.append(str(exc))

    def _require_known(self, parts: list[str]) -> None:
        shown = self.headers["Authorization"]
        if (self.command, *parts) == ("POST", "session") or shown == f"Bearer {KEY}":
            return
        if shown != f"Bearer {TOKEN}":
            raise UnauthorizedError("the key is not known here")
        if not self.plane.logged_in:
            raise UnauthorizedError("the session has expired")

    def _upload(self, held_of: dict[str, bytes], sha256: str, body: bytes) -> None:
        held = held_of.get(sha256, b"") + body
        if self.command == "PATCH":
            held_of[sha256] = held
        is_complete = sha256 in held_of and hashlib.sha256(held).hexdigest() == sha256
        self.send_response(204 if self.command == "PATCH" else 200)
        self.send_header("Upload-Offset", str(len(held)))
        self.send_header("Upload-Complete", "?1" if is_complete else "?0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _route(self, parts: list[str], query: dict[str, str], data: Any) -> tuple[int, Any]:
        plane, method = self.plane, self.command
        if parts[0] in plane.missing:
            raise NotFoundError(f"there is nothing at {urlsplit(self.path).path}")
        match method, *parts:
            case "POST", "doctor":
                return 200, {"items": plane.findings, "next": None, "version": __version__}
            case "GET", "status":
                return 200, plane.status or STATUS
            case "GET", "runners":
                return 200, {"items": plane.runners, "next": None}
            case "GET", "changes":
                return 200, self._changes(query)
            case "GET", "flows":
                left_out = ("form", "description")
                items = [
                    {key: each for key, each in flow.items() if key not in left_out}
                    for flow in plane.flows.values()
                    if query.get("tag") in (None, *flow.get("tags", ()))
                    and query.get("q", "") in flow["name"]
                ]
                return 200, {"items": items, "next": None}
            case "GET", "tags":
                names = [tag for flow in plane.flows.values() for tag in flow.get("tags", ())]
                items = [{"name": each, "flows": names.count(each)} for each in sorted({*names})]
                return 200, {"items": items, "next": None}
            case (("GET" | "POST"), "flows", *name):
                return self._flow("/".join(name), data)
            case "GET", "executions":
                return 200, self._list(query)
            case "DELETE", "executions":
                return 200, self._piece("deleted", query)
            case "POST", "executions", ("cancel" | "retry" | "resume") as action:
                return 200, self._piece(_DONE[action], query)
            case "GET", "executions", fid:
                return 200, plane.find(fid)
            case "GET", "executions", fid, "result" if self.headers["Accept"] == "text/html":
                return 200, f"<p>{plane.find(fid).get('outcome', {}).get('body')}"
            case "GET", "executions", fid, "result":
                return 200, self._result(plane.find(fid))
            case "POST", "executions", fid, "cancel":
                execution = plane.find(fid)
                if execution["status"] in FINAL:
                    raise ConflictError(f"execution {execution['fid']} has ended already")
                threading.Timer(0.05, plane.end, (execution["fid"], "cancelled")).start()
                return 202, execution
            case "POST", "executions", fid, "retry":
                former = plane.find(fid)
                if former["status"] not in FINAL:
                    raise ConflictError(f"execution {former['fid']} has not ended")
                plane.keys.append(self.headers["Idempotency-Key"])
                again = plane.launch(*plane.script, inputs=former["inputs"])
                return 201, {**plane.executions[again], "retry_of": former["fid"]}
            case "POST", "executions", fid, "resume":
                former = plane.find(fid)
                if former["status"] not in FINAL:
                    raise ConflictError(f"execution {former['fid']} has not ended")
                plane.keys.append(self.headers["Idempotency-Key"])
                again = plane.launch(*plane.script, resume_of=former["fid"])
                return 201, plane.executions[again]
            case "GET", "executions", fid, "steps":
                statuses = query["status"].split(",") if query.get("status") else None
                found = plane.recorded.get(plane.find(fid)["fid"], [])
                found = [each for each in found if not statuses or each["status"] in statuses]
                limit, start = int(query["limit"]), int(query.get("cursor", 0))
                more = start + limit < len(found)
                items = found[start : start + limit]
                return 200, {"items": items, "next": str(start + limit) if more else None}
            case "GET", "executions", fid, "steps", "history":
                execution = plane.find(fid)
                steps = plane.recorded.get(execution["fid"], [])
                told = [{"key": each["key"], "status": each["status"]} for each in steps]
                return 200, {"flow": execution["flow"], "steps": told}
            case "POST", "executions", fid, "messages", name:
                execution = plane.find(fid)
                if execution["status"] in FINAL:
                    raise ConflictError(f"execution {execution['fid']} has ended")
                plane.messages.append((execution["fid"], name, data.get("data")))
                plane.keys.append(self.headers["Idempotency-Key"])
                facts = {"created": TS, "by": "admin", "taken": None}
                return 201, {"fid": execution["fid"], "name": name, **facts}
            case "DELETE", "executions", fid:
                del plane.executions[plane.find(fid)["fid"]]
                return 204, None
            case "GET", "usage":
                return 200, {"items": plane.usage, "next": None}
            case "GET", "audit":
                start, limit = int(query.get("cursor", 0)), int(query["limit"])
                more = start + limit < len(plane.audit)
                items = plane.audit[start : start + limit]
                return 200, {"items": items, "next": str(start + limit) if more else None}
            case "GET", "me":
                me = {"name": "admin", "by": "key", "scopes": ["admin"], "flows": []}
                if self.headers["Authorization"] == f"Bearer {TOKEN}":
                    me |= {"name": plane.logged_in, "by": "session", "scopes": ["launch"]}
                return 200, {**me, "all_executions": True, "expires": None}
            case "GET", "keys":
                return 200, {"items": [*plane.key_rows.values()], "next": None}
            case "POST", "keys":
                return 201, {**plane.key(**data), "secret": plane.secret(data["name"])}
            case "POST", "keys", name, "rotate":
                key = plane.key_rows[name]
                key["former_until"] = LATER if data["grace_s"] else None
                return 200, {**key, "secret": plane.secret(name)}
            case "DELETE", "keys", name if name not in plane.key_rows:
                raise NotFoundError(f"there is no key {name!r}")
            case "DELETE", "keys", name:
                return 200, plane.key_rows.pop(name)
            case "GET", "limits":
                return 200, {"items": [plane.limits(name) for name in plane.flows], "next": None}
            case "PATCH", "limits", name:
                new = {"until_deploy": False, **json.loads(data), "by": "admin", "since": TS}
                plane.overrides[name] = plane.overrides.get(name, {}) | new
                return 200, plane.limits(name)
            case "DELETE", "limits", name:
                plane.overrides.pop(name, None)
                return 200, plane.limits(name)
            case "GET", "settings":
                return 200, {"items": [plane.setting(name) for name in SETTINGS], "next": None}
            case "PATCH", "settings":
                items = []
                for name, value in json.loads(data)["values"].items():
                    if name not in SETTINGS:
                        raise UsageError(f"there is no setting {name!r}")
                    before = plane.setting(name)["value"]
                    plane.settings[name] = value
                    items.append({**plane.setting(name), "before": before})
                return 200, {"items": items, "next": None}
            case "GET", "secrets":
                facts = {"updated": TS, "by": "admin", "trouble": None, "services": []}
                items = [{"name": name, **facts} for name in sorted(plane.secrets)]
                return 200, {"items": items, "next": None}
            case "PUT", "secrets", name:
                is_new = name not in plane.secrets
                plane.secrets[name] = json.loads(data)["value"]
                services = [] if is_new else ["hello"]
                return 200, {"name": name, "new": is_new, "services": services}
            case "DELETE", "secrets", name:
                if plane.secrets.pop(name, None) is None:
                    raise NotFoundError(f"there is no secret {name!r}")
                return 200, {"name": name, "services": []}
            case "POST", "session":
                if plane.passwords.get(data["name"]) != data["password"]:
                    raise UnauthorizedError("the name or the password is wrong")
                plane.logged_in = data["name"]
                told = {"name": data["name"], "scopes": ["launch"], "expires": LATER}
                return 201, {**told, "token": TOKEN}
            case "DELETE", "session":
                plane.logged_in = ""
                return 200, {"name": "eve"}
            case "GET", "users":
                return 200, {"items": list(plane.users.values()), "next": None}
            case "POST", "users":
                if data["name"] in plane.users:
                    raise ConflictError(f"a user is called {data['name']!r} already")
                plane.passwords[data["name"]] = data.pop("password")
                facts = {"created": TS, "by": "admin", "last_login": None, "last_from": None}
                plane.users[data["name"]] = {"active": True, "email": ""} | data | facts
                return 201, plane.users[data["name"]]
            case "DELETE", "users", name:
                if plane.users.pop(name, None) is None:
                    raise NotFoundError(f"there is no user {name!r}")
                return 200, {"name": name}
            case "PATCH", "users", name if name in plane.users:
                plane.users[name] |= json.loads(data)
                return 200, plane.users[name]
            case "PUT", "users", name, "password":
                body = json.loads(data)
                if plane.logged_in == name and plane.passwords[name] != body["old"]:
                    raise NotAllowedError("the old password is wrong")
                plane.passwords[name], plane.logged_in = body["password"], ""
                return 200, {"name": name}
            case "GET", "locks":
                found = [each for each in plane.locks.values() if each["status"] == "open"]
                flow, limit = query.get("flow"), int(query["limit"])
                found = [each for each in found if flow in (None, each["flow"])]
                start = int(query.get("cursor", 0))
                more = start + limit < len(found)
                items = [*map(_formless, found[start : start + limit])]
                return 200, {"items": items, "next": str(start + limit) if more else None}
            case "GET", "executions", fid, "locks":
                items = [*map(_formless, plane.locks_of(plane.find(fid)["fid"]))]
                return 200, {"items": items, "next": None}
            case "GET", "executions", fid, "locks", name:
                return 200, plane.find_lock(plane.find(fid)["fid"], name)
            case "POST", "executions", fid, "locks", name:
                lid = plane.find_lock(plane.find(fid)["fid"], name)["lid"]
                return 200, _formless(plane.answer(lid, data))
            case "DELETE", "services", service if service in plane.busy:
                raise ConflictError(f"{service} has 2 executions", hint="koco undeploy drains them")
            case "DELETE", "services", service:
                return 200, plane.service(service) | {"ended": [3]}
            case "GET", "services":
                return 200, {"items": plane.services, "next": None}
            case "GET", "services", service:
                shown = plane.service(service)
                plane.running = plane.running[1:]
                return 200, shown
            case "GET", "services", service, "releases":
                limit, start = int(query["limit"]), int(query.get("cursor", 0))
                more = start + limit < len(plane.history)
                items = plane.history[start : start + limit]
                return 200, {"items": items, "next": str(start + limit) if more else None}
            case "POST", "services", service, "rollback":
                if data["number"] is None:
                    raise NotFoundError(f"{service} has no earlier release that served")
                origin = {"rollback_of": data["number"]}
                release = {"service": service, "number": 4, "status": "starting", "error": None}
                return 202, {**release, "origin": origin, "unchanged": plane.unchanged}
            case "POST", "plan":
                return 200, plane.plan(data)
            case "POST", "services", service, "releases":
                if plane.crossed is not None and service in (plane.overtaken or {service}):
                    raise plane.crossed
                status = "live" if plane.unchanged else "starting"
                release = {"service": service, "number": 3, "status": status, "error": None}
                return 202, {**release, "unchanged": plane.unchanged, **plane.begun}
            case "GET", "services", service, "releases", number:
                if service in plane.stuck:
                    answer = {"status": "starting"}
                else:
                    answer = plane.releases.pop(0) if len(plane.releases) > 1 else plane.releases[0]
                base = {"service": service, "number": int(number), "unchanged": False}
                base |= {"bundle": "ab" * 32, "created": TS, "ready": None, "by": "admin"}
                base |= {"origin": {}, "timings": {}, "retired": None, "available": True}
                return 200, {**base, "flows": [], "error": None, **answer}
        raise NotFoundError(f"there is nothing at {self.path}")

    def _flow(self, name: str, data: Any) -> tuple[int, Any]:
        plane = self.plane
        flow = next((f for f in plane.flows.values() if name in (f["name"], f["short"])), None)
        if flow is None:
            raise NotFoundError(f"no flow is called {name!r}", hint="did you mean 'greet'?")
        if self.command == "GET":
            return 200, {**flow, "schema": _schema(flow["form"])}
        key = self.headers["Idempotency-Key"]
        plane.keys.append(key)
        plane.preferences.append(self.headers["Prefer"])
        if plane.full:
            raise plane.full.pop()
        if data.get("who") == "nobody":
            raise InputsError(who=["must be somebody", "must be known"], size="must be a number")
        with plane.changed:
            if key not in plane.launched:
                script = plane.script_of(data) if plane.script_of else plane.script
                fid = plane.launch(*script, inputs=data, key=key)
                plane.launched[key or fid] = fid
                key = key or fid
            fid = plane.launched[key]
        execution = plane.executions[fid]
        if "wait=" in (self.headers["Prefer"] or "") and execution["status"] in FINAL:
            return 201, {"result": fid, "outcome": self._result(execution)}
        if url := self.headers["Webhook"]:
            return 201, {"result": fid, "webhook": {"url": url, "secret": "whsec_dGVzdA=="}}
        return 201, {"result": fid}

    def _changes(self, query: dict[str, str]) -> dict[str, Any]:
        """Tell the executions that have changed, if any; wait for news."""
        plane, until = self.plane, time.monotonic() + float(query.get("wait", 0))
        with plane.changed:
            since = len(plane.log) if query.get("since") == "now" else int(query.get("since", 0))
            while since >= len(plane.log) and (left := until - time.monotonic()) > 0:
                plane.changed.wait(min(left, 0.1))
            now, fids = str(len(plane.log)), dict.fromkeys(plane.log[since:])
        return {"items": [self._change(fid, now) for fid in fids], "next": now}

    def _change(self, fid: str, cursor: str) -> dict[str, Any]:
        execution = self.plane.executions.get(fid)
        told = None if execution is None else _told(execution)
        return {"cursor": cursor, "fid": fid, "deleted": told is None, "execution": told}

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        statuses = query.get("status", "").split(",") if query.get("status") else ()
        items = [
            each
            for each in reversed(self.plane.executions.values())
            if (not statuses or each["status"] in statuses)
            and query.get("flow") in (None, each["flow"], each["flow"].partition("/")[2])
            and (not query.get("active") or each["status"] not in FINAL)
            and query.get("parent") in (None, each["parent"])
            and query.get("retried") in (None, str(each.get("retried", False)).lower())
        ]
        start, limit = int(query.get("cursor", 0)), int(query["limit"])
        more = start + limit < len(items)
        return {"items": items[start : start + limit], "next": str(start + limit) if more else None}

    def _piece(self, done: str, query: dict[str, str]) -> dict[str, Any]:
        """Do something to one selected execution, and skip those that refuse it."""
        if done in ("retried", "resumed"):
            self.plane.keys.append(self.headers["Idempotency-Key"])
            if self.plane.full:
                raise self.plane.full.pop()
        default = {"deleted": FINAL, "cancelled": ("queued", "running", "awaiting", "sleeping")}
        query = {"status": ",".join(default.get(done, ("error",))), "limit": "1000"} | query
        fids = parse_qs(urlsplit(self.path).query).get("fid")
        start = int(query.pop("cursor", 0))
        found = fids[start:] if fids else self._list(query)["items"]
        if "again" in query and not fids:  # the others shrink the list
            found = found[start % 1000 :]
        answer: dict[str, Any] = {done: [], "skipped": [], "next": None}
        for number, each in enumerate(found, start + 1):
            try:
                execution = each if fids is None else self.plane.find(each)
                answer[done].append(self._do(done, execution, query))
            except KocoError as exc:
                fid = each if fids is not None else each["fid"]
                new = exc.new if isinstance(exc, RetriedError) else None
                skipped = {"fid": fid, "code": exc.code, "reason": exc.message, "new": new}
                answer["skipped"].append(skipped)
                continue
            answer["next"] = str(number if fids else number + 1000 * len(self.plane.requests))
            break
        return answer

    def _do(self, done: str, execution: dict[str, Any], query: dict[str, str]) -> Any:
        fid, plane = execution["fid"], self.plane
        if (execution["status"] in FINAL) is (done == "cancelled"):
            raise ConflictError(f"execution {fid} is {execution['status']}")
        if done == "deleted":
            return plane.executions.pop(fid)["fid"]
        if done == "cancelled":
            plane.end(fid, "cancelled")
            return fid
        if execution.get("retried") and "again" not in query:
            raise RetriedError(
                f"execution {fid} was retried already", new=execution.get("retried_as")
            )
        script = plane.script_of(execution["inputs"]) if plane.script_of else plane.script
        new = plane.launch(*script, inputs=execution["inputs"])
        execution |= {"retried": True, "retried_as": new}
        return {"fid": fid, "new": new}

    def _result(self, execution: dict[str, Any]) -> dict[str, Any]:
        status = execution["status"]
        if status not in FINAL:
            raise ConflictError(f"execution {execution['fid']} has no result yet: it is {status}")
        answer = {"fid": execution["fid"], "status": status}
        if "outcome" in execution:
            answer["result" if status == "finished" else "error"] = execution["outcome"]
        return answer

    def _stream(self, fid: str, query: dict[str, str]) -> None:
        kinds = query["kind"].split(",") if query.get("kind") else ()
        since, follow = int(query.get("since", 0)), "follow" in query
        cut = self.plane.cuts.pop(0) if self.plane.cuts else None
        self.send_response(200)
        self.send_header("X-Koco-Fid", fid)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if query.get("tail"):
            since = max(since, len(self.plane.events[fid]) - int(query["tail"]))
        sent = 0
        while self.plane.beats:
            self.plane.executions[fid]["waits"] = self.plane.beats.pop(0)
            asked = len(self.plane.requests)
            self._chunk(b"\n")
            until = time.monotonic() + 60
            while len(self.plane.requests) == asked and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(0.05)
        while True:
            with self.plane.changed:
                events = self.plane.events[fid][since:]
                ended = self.plane.executions[fid]["status"] in FINAL
                if not events and not ended and follow:
                    self.plane.changed.wait(0.2)
                    continue
            since += len(events)
            for number, event in enumerate(events, 1):
                is_end = ended and number == len(events)
                kind = json.loads(event)["kind"]
                if not kinds or kind in kinds or (follow and is_end):
                    self._chunk(event + b"\n")
                    sent += 1
                if sent == cut:
                    self._chunk(b'{"seq":99,"half a li')
                    self.close_connection = True
                    return
            if ended or not follow:
                self._chunk(b"")
                return

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _answer(self, code: int, value: Any) -> None:
        if self.plane.twist is not None and value is not None:
            value = self.plane.twist(_told(value))
        body = b"" if value is None else json.dumps(_told(value)).encode()
        kind = "application/json" if code < 400 or self.path == "/health" else _PROBLEM
        if isinstance(value, str) and code < 400:
            kind, body = "text/html; charset=utf-8", value.encode()
        if (
            self.plane.refuses is None and self.plane.twist is None
        ):  # which may be told of any route
            self._judge(contract(some=True).check_answer, code, {"content-type": kind}, body)
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _formless(lock: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in lock.items() if key not in ("form", "dialect")}


def _told(value: Any) -> Any:
    """Return what is answered: without what the fake remembers for itself."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        return {**value, "items": [_told(each) for each in value["items"]]}
    if not isinstance(value, dict):
        return value
    hidden = ("outcome",) if "fid" in value else ("short",)
    return {key: each for key, each in value.items() if key not in hidden}


def _problem(error: KocoError) -> dict[str, Any]:
    """Return an error as `koco.api.http.errors` does, which takes litestar."""
    wire = error.to_wire()
    told = {"status": error.http_status, "detail": error.message, "request_id": "req1"}
    more = {"errors": wire["errors"]} if "errors" in wire else {}
    if traceback := wire["error"].get("detail"):
        more["traceback"] = traceback
    return {"code": error.code, "hint": error.hint, **told, **more}


def _schema(form: Any) -> Any:
    try:
        return {"type": "object"} if form is None else Model.from_list(form).json_schema()
    except FormError:
        return {}


STATUS = {
    "control_plane": {
        "pid": 42,
        "version": "0.1.0",
        "url": "http://127.0.0.1:8400",
        "started": TS,
        "restarts": 1,
    },
    "ray": {
        "version": "2.60.0",
        "nodes": [
            {
                "id": "ab",
                "address": "127.0.0.1",
                "alive": True,
                "resources": {"CPU": 2.0, "license": 3.0, "memory": 8e9},
                "free": {"CPU": 0.5, "license": 3.0, "memory": 8e9},
                "labels": {"zone": "a", "ray.io/market": "spot"},
            },
            {"id": "ef", "address": "10.0.0.3", "alive": True, "resources": {"CPU": 2.0}},
            {"id": "cd", "address": "10.0.0.2", "alive": False, "resources": {}},
        ],
    },
    "store": {"path": "/data/koco.db", "size_bytes": 2_500_000},
    "services": [
        {
            "name": "hello",
            "release": 2,
            "status": "failing",
            "trouble": "no runner starts",
            "flows": ["greet"],
            "runners": 0,
            "endpoint": None,
        },
        {
            "name": "hymn",
            "release": 1,
            "status": "live",
            "trouble": None,
            "flows": ["hymn"],
            "runners": 1,
            "endpoint": "running",
            "drift": "somebody else has changed its Serve application: its environment",
        },
    ],
    "executions": {"finished": 3, "error": 1, "running": 0},
    "left": [],
}

GREET = {
    "name": "hello/greet",
    "short": "greet",
    "service": "hello",
    "entrypoint": "hello.app:greet",
    "summary": "Greet somebody",
    "release": 2,
    "description": "",
    "tags": ["demo"],
    "form": [
        {"type": "markdown", "text": "Hello"},
        {"type": "text", "name": "who", "label": "Who", "required": True},
        {"type": "number", "name": "size", "value": 3},
        {"type": "submit", "text": "Go"},
    ],
}
