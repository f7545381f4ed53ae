"""The control plane's API as methods. Their results are the typed dictionaries in `answers`.

`transport` makes the requests. `stream` follows an execution's
events. If a control plane restarts, the client waits for it when that is safe.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack
from urllib.parse import quote

from koco.client import answers
from koco.client.context_file import Context
from koco.client.exchange.memory_budget import PAYLOAD_BYTES, Room
from koco.client.stream import Stream
from koco.client.transport import Options, Transport
from koco.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from koco.client.cursor_lines import CursorLines
    from koco.client.files import Files
    from koco.client.many_stream import ManyStream
    from koco.manifest.differences import File

__all__ = ["Client", "Stream"]

#: Timeout of a request to a service's own endpoint (seconds): a manifest may allow an hour.
_ENDPOINT_S = 3660.0

#: Timeout of a plan (seconds): it may read every live bundle.
_PLAN_S = 120.0

#: Timeout of a backup, whose first part is a copy of the whole store (seconds).
_COPY_S = 3600.0

#: Pages to search for one execution, at most: a server could send pages without end.
_PAGES = 1000

#: The maximum length of an idempotency key (characters).
_KEY_LENGTH = 255


class Webhook(NamedTuple):
    """A URL that is told of one execution. What is empty is up to the control plane."""

    url: str
    events: tuple[str, ...] = ()
    secret: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the launch."""
        found = {"Webhook": self.url, "Webhook-On": ",".join(self.events)}
        found["Webhook-Secret"] = self.secret
        return {name: value for name, value in found.items() if value}


class Client:
    """A control plane, as its context describes it. A short-lived process need not close it."""

    def __init__(self, context: Context, **options: Unpack[Options]) -> None:
        self._transport = Transport(context, **options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def url(self) -> str:
        """The URL of the control plane."""
        return self._transport.url

    @property
    def transport(self) -> Transport:
        """The connection, for what this class has no method for."""
        return self._transport

    @cached_property
    def files(self) -> "Files":
        """The files of executions, and uploads."""
        from koco.client.files import Files  # most commands need no hashes

        return Files(self._transport)

    def health(self) -> answers.Health:
        """Return the answer of `/health`; `{"status": "degraded"}` is not an error."""
        return self._transport.json("GET", "/health", answers.Health, accept=(503,))

    def doctor(self, *, timeout_s: float = 20.0) -> answers.Doctor:
        """Return `{items, next, version}`: the control plane's findings and its koco version."""
        return self._transport.json("POST", "/v1/doctor", answers.Doctor, timeout_s=timeout_s)

    def status(self, *, timeout_s: float = 30.0) -> answers.Overview:
        """Return the state of control plane, Ray, store and services, and executions by status."""
        return self._transport.json("GET", "/v1/status", answers.Overview, timeout_s=timeout_s)

    def runners(self) -> list[answers.Runner]:
        """Return the runners, with what their processes use just now."""
        return self._transport.items("/v1/runners", answers.Runner)

    def flows(
        self, *, tags: Sequence[str] = (), words: str | None = None
    ) -> list[answers.FlowSummary]:
        """Return the flows that can be launched: all, or those with all tags and all words."""
        query = {"tag": list(tags), "q": words}
        return self._transport.items("/v1/flows", answers.FlowSummary, query)

    def tags(self) -> list[answers.Tag]:
        """Return the tags of flows, by name."""
        return self._transport.items("/v1/tags", answers.Tag)

    def flow(self, name: str) -> answers.Flow:
        """Return a flow with its form, by short or full name."""
        path = f"/v1/flows/{_part(name, 'flow', safe='/')}"
        return self._transport.json("GET", path, answers.Flow)

    def launch(
        self,
        name: str,
        inputs: dict[str, Any],
        *,
        key: str | None = None,
        is_prefilled: bool = False,
    ) -> str:
        """Launch a flow and return the fid; see `launch_with`."""
        return self.launch_with(name, inputs, key=key, is_prefilled=is_prefilled)["result"]

    def launch_with(
        self,
        name: str,
        inputs: dict[str, Any],
        *,
        key: str | None = None,
        is_prefilled: bool = False,
        webhook: Webhook | None = None,
    ) -> answers.Launched:
        """Launch a flow and return the answer, which has the fid as its `result`.

        If a `webhook` is to be told of the execution, the answer has its secret, too. With
        `is_prefilled`, a flow that was written for Kodosumi also gets the values that its form
        shows at first.

        With an idempotency key, the request is repeated if the connection breaks, because the same
        key gives the same fid. Without a key it is never repeated, because that might launch the
        flow twice.
        """
        path = f"/v1/flows/{_part(name, 'flow', safe='/')}"
        headers = _keyed(key) | ({"Prefer": "prefilled"} if is_prefilled else {})
        headers |= {} if webhook is None else webhook.headers
        return self._transport.json(
            "POST",
            path,
            answers.Launched,
            body=inputs,
            headers=headers,
            repeatable=key is not None,
            timeout_s=_ENDPOINT_S,
        )

    def launch_and_wait(
        self, name: str, inputs: dict[str, Any], *, key: str, wait_s: int, is_prefilled: bool
    ) -> answers.LaunchedAndAwaited:
        """Launch a flow and wait for the end of the execution, for some seconds.

        The answer has the outcome if it has ended. The same call with the same key and inputs goes
        on waiting. `is_prefilled` is as with `launch`.
        """
        path = f"/v1/flows/{_part(name, 'flow', safe='/')}"
        prefer = f"wait={wait_s}" + (", prefilled" if is_prefilled else "")
        return self._transport.json(
            "POST",
            path,
            answers.LaunchedAndAwaited,
            body=inputs,
            headers={**_keyed(key), "Prefer": prefer},
            timeout_s=_ENDPOINT_S,
            room=Room(PAYLOAD_BYTES),
        )

    def executions(
        self,
        *,
        search: str | None = None,
        parent: str | None = None,
        retried: bool | None = None,
        active: bool = False,
        limit: int = 50,
        cursor: str | None = None,
        room: Room | None = None,
        **filters: Any,
    ) -> answers.Executions:
        """Return a page of executions that match all filters, newest first: `{items, next}`.

        `filters` may have `statuses`, `flow`, `service`, `user`, `tags`, `since` and `until`.
        `parent` is the fid of the execution that launched them. With `retried` they were retried or
        resumed; if it is False, they were not.

        A page may have few items or none and still have a `next`. For a search, `complete` is true
        if all executions were searched. Pages that are collected together share a `room`.
        """
        query = {
            **_filters(**filters),
            "search": search,
            "parent": "latest" if parent == "-" else parent,
            "retried": None if retried is None else str(retried).lower(),
            "active": _flag(active),
            "limit": str(limit),
            "cursor": cursor,
        }
        return self._transport.json(
            "GET", "/v1/executions", answers.Executions, query=query, room=room
        )

    def changes(
        self, *, since: str | None = None, wait_s: float = 0.0, limit: int = 50
    ) -> answers.ExecutionChanges:
        """Return executions that are new, have another status or are gone: `{items, next}`.

        `since` is the `next` of an earlier answer, or `now`. An answer that would be empty waits
        for news, for at most `wait_s`.
        """
        query = {"since": since, "wait": f"{wait_s:g}", "limit": str(limit)}
        return self._transport.json(
            "GET", "/v1/changes", answers.ExecutionChanges, query=query, timeout_s=wait_s + 30
        )

    def execution(self, fid: str) -> answers.Execution:
        """Return an execution, by fid, unique prefix or `latest`."""
        return self._transport.json(
            "GET", _execution(fid), answers.Execution, room=Room(PAYLOAD_BYTES)
        )

    def latest(self, flow: str) -> str:
        """Return the fid of a flow's latest execution, by the flow's full name.

        Raises:
            NotFoundError: the flow has no execution that the caller may see.
        """
        cursor: str | None = None
        for _ in range(_PAGES):
            page = self.executions(flow=flow, limit=1, cursor=cursor)
            for execution in page["items"]:
                return execution["fid"]
            if not (cursor := page["next"]):
                break
        hint = "`koco flows` lists flows, `koco run` launches one"
        raise NotFoundError(f"{flow} has no execution", hint=hint)

    def stack(self, fid: str, *, threads: bool = False) -> answers.Stacks:
        """Return the current stacks of an execution: `{fid, status, note, processes}`.

        Raises:
            ConflictError: it has ended.
        """
        query = {"threads": "true"} if threads else {}
        return self._transport.json("GET", f"{_execution(fid)}/stack", answers.Stacks, query=query)

    def result(self, fid: str) -> answers.Result:
        """Return `{fid, status, result | error}`; raises ConflictError if it has not ended."""
        path = f"{_execution(fid)}/result"
        return self._transport.json("GET", path, answers.Result, room=Room(PAYLOAD_BYTES))

    def result_page(self, fid: str) -> str:
        """Return a result in Markdown or HTML as a page of HTML.

        Raises:
            AcceptError: it is neither, or there is none.
        """
        path, headers = f"{_execution(fid)}/result", {"Accept": "text/html"}
        return self._transport.text("GET", path, headers=headers, room=Room(PAYLOAD_BYTES))

    def locks(
        self,
        *,
        flow: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        room: Room | None = None,
    ) -> answers.Page[answers.Lock]:
        """Return a page of open locks, oldest first: `{items, next}`."""
        query = {"flow": flow, "limit": str(limit), "cursor": cursor}
        return self._transport.json(
            "GET", "/v1/locks", answers.Page[answers.Lock], query=query, room=room
        )

    def locks_of(self, fid: str) -> list[answers.Lock]:
        """Return all locks of an execution, open or settled, oldest first."""
        return self._transport.items(f"{_execution(fid)}/locks", answers.Lock, {"limit": "1000"})

    def lock(self, fid: str, name: str) -> answers.LockWithForm:
        """Return a lock with its form (None: any JSON value), by id, unique prefix or name."""
        path = f"{_execution(fid)}/locks/{_part(name, 'lock')}"
        return self._transport.json("GET", path, answers.LockWithForm, room=Room(PAYLOAD_BYTES))

    def answer(self, fid: str, name: str, value: Any) -> answers.Lock:
        """Answer a lock with any JSON value and return the settled lock.

        Raises:
            InputsError: the form or the lease rejects the value; the lock stays open.
            ConflictError: it is already settled; the message names who answered, and when.
        """
        body = json.dumps(value).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self._transport.json(
            "POST",
            f"{_execution(fid)}/locks/{_part(name, 'lock')}",
            answers.Lock,
            headers=headers,
            content=lambda: iter([body]),
            timeout_s=_ENDPOINT_S,
            # A repeated request would report that somebody else was faster.
            repeatable=False,
        )

    def steps(
        self,
        fid: str,
        *,
        statuses: Sequence[str] = (),
        limit: int = 50,
        cursor: str | None = None,
        room: Room | None = None,
    ) -> answers.Page[answers.RecordedStep]:
        """Return a page of an execution's recorded steps, in the order of their calls."""
        query = {"status": ",".join(statuses), "limit": str(limit), "cursor": cursor}
        return self._transport.json(
            "GET",
            f"{_execution(fid)}/steps",
            answers.Page[answers.RecordedStep],
            query=query,
            room=room,
        )

    def history(self, fid: str) -> answers.History:
        """Return everything that is recorded of an execution, for `koco.testing.replays`."""
        path, room = f"{_execution(fid)}/steps/history", Room(PAYLOAD_BYTES)
        return self._transport.json("GET", path, answers.History, room=room)

    def send(self, fid: str, name: str, data: Any, *, key: str | None = None) -> answers.Message:
        """Send a message to an execution: any JSON value.

        With an idempotency key, it is sent once, however often this is called.

        Raises:
            ConflictError: the execution has ended, or another message was sent with this key.
        """
        path = f"{_execution(fid)}/messages/{_part(name, 'name of a message')}"
        # Repeated if the connection breaks: the flow gets it once.
        return self._transport.json(
            "POST",
            path,
            answers.Message,
            body={"data": data},
            headers=_keyed(key) or _once(),
        )

    def cancel(self, fid: str, *, grace_s: float) -> answers.Execution:
        """Ask an execution to end and return it. It is killed after `grace_s`."""
        path = f"{_execution(fid)}/cancel"
        return self._transport.json("POST", path, answers.Execution, body={"grace_s": grace_s})

    def retry(self, fid: str, *, key: str | None = None) -> answers.Named:
        """Launch an ended execution again and return the new one.

        The idempotency key works as with `launch`.
        """
        return self._transport.json(
            "POST",
            f"{_execution(fid)}/retry",
            answers.Named,
            headers=_keyed(key),
            repeatable=key is not None,
        )

    def resume(
        self, fid: str, *, step: str | None, is_live: bool, key: str | None = None
    ) -> answers.Named:
        """Launch an ended execution again with its recorded steps before `step`; return the new.

        Without a step, those before the one that failed are kept. With `is_live`, the new one runs
        on the live release instead of the execution's own. The key works as with `launch`.

        Raises:
            ConflictError: it has not ended.
            NotFoundError: there is no such step.
        """
        return self._transport.json(
            "POST",
            f"{_execution(fid)}/resume",
            answers.Named,
            body={"from": step, "release": "live" if is_live else "own"},
            headers=_keyed(key),
            repeatable=key is not None,
        )

    def delete(self, fid: str) -> None:
        """Remove an ended execution; raises ConflictError if it has not ended."""
        # Not repeated if the connection breaks: the second request would get a "not found".
        self._transport.call("DELETE", _execution(fid), repeatable=False)

    def delete_all(self, *, cursor: str | None = None, **selection: Any) -> answers.Deleted:
        """Remove some of the selected executions, which have ended.

        `selection` has `fids`, or filters of `executions`. `next` of the answer is the `cursor` for
        the rest. It is None at the end.
        """
        query = {**_selection(**selection), "cursor": cursor}
        return self._transport.json("DELETE", "/v1/executions", answers.Deleted, query=query)

    def cancel_all(
        self, *, grace_s: float, cursor: str | None = None, **selection: Any
    ) -> answers.Cancelled:
        """Ask some of the selected executions to end; the same as `delete_all`."""
        query = {**_selection(**selection), "grace_s": f"{grace_s:g}", "cursor": cursor}
        return self._transport.json("POST", "/v1/executions/cancel", answers.Cancelled, query=query)

    def retry_all(
        self, *, key: str, again: bool, cursor: str | None = None, **selection: Any
    ) -> answers.Retried:
        """Launch some of the selected executions again; the same as `delete_all`.

        Those that were retried or resumed before are left out, except with `again`. With the same
        key, each is launched only once.

        Raises:
            TooManyError: the first of them would have to wait, and the queue is full.
        """
        query = {**_selection(**selection), "again": _flag(again), "cursor": cursor}
        return self._transport.json(
            "POST", "/v1/executions/retry", answers.Retried, query=query, headers=_keyed(key)
        )

    def resume_all(
        self,
        *,
        step: str | None,
        is_live: bool,
        key: str,
        again: bool,
        cursor: str | None = None,
        **selection: Any,
    ) -> answers.Resumed:
        """Do the same with the recorded steps of each; see `resume` and `retry_all`."""
        how = {"step": step, "release": "live" if is_live else "own", "again": _flag(again)}
        query = {**_selection(**selection), **how, "cursor": cursor}
        return self._transport.json(
            "POST", "/v1/executions/resume", answers.Resumed, query=query, headers=_keyed(key)
        )

    def schedules(self, flow: str | None = None) -> list[answers.ScheduleOfFlow]:
        """Return the schedules: all, or those of a flow or of a schedule's id."""
        return self._transport.items("/v1/schedules", answers.ScheduleOfFlow, {"flow": flow})

    def change_schedule(self, name: str, *, paused: bool) -> list[answers.ScheduleOfFlow]:
        """Pause or resume a schedule, or all of a flow; return them."""
        path = f"/v1/schedules/{'pause' if paused else 'resume'}"
        kind = answers.Page[answers.ScheduleOfFlow]
        return self._transport.json("POST", path, kind, body={"schedule": name})["items"]

    def trigger(self, name: str, *, key: str | None = None) -> str:
        """Launch a schedule's flow now and return the fid. The key works as with `launch`."""
        return self._transport.json(
            "POST",
            "/v1/schedules/trigger",
            answers.Launched,
            body={"schedule": name},
            headers=_keyed(key),
            repeatable=key is not None,
            timeout_s=_ENDPOINT_S,
        )["result"]

    def usage(
        self,
        *,
        by: str,
        since: str | None = None,
        until: str | None = None,
        flow: str | None = None,
        user: str | None = None,
        statuses: Sequence[str] = (),
        limit: int = 100,
        cursor: str | None = None,
        room: Room | None = None,
    ) -> answers.Page[answers.Usage]:
        """Return a page of groups of executions, counted: `{items, next}`.

        `by` has some of `day`, `flow`, `user` and `status`, separated by commas.
        """
        filters = _filters(statuses=statuses, flow=flow, user=user, since=since, until=until)
        query = {**filters, "by": by, "limit": str(limit), "cursor": cursor}
        return self._transport.json(
            "GET", "/v1/usage", answers.Page[answers.Usage], query=query, room=room
        )

    def has_bundle(self, sha256: str) -> bool:
        """Return whether a complete bundle is already there."""
        answer = self._transport.call("HEAD", f"/v1/bundles/{sha256}")
        return answer.headers.get("Upload-Complete") == "?1"

    def put_bundle(
        self, sha256: str, path: Path, *, advance: Callable[[int], object] | None = None
    ) -> None:
        """Upload a bundle from its file, or the missing part of it; see `Files.upload`."""
        self.files.upload(
            path,
            sha256,
            size_bytes=path.stat().st_size,
            advance=advance or (lambda _: None),
            among="bundles",
        )

    def plan(
        self,
        services: "Sequence[tuple[dict[str, Any], Sequence[File]]]",
        *,
        project: str | None,
        prune: bool,
    ) -> answers.Plan:
        """Return the effect of deploying manifests with their files: `{items, next, counts}`."""
        from dataclasses import asdict  # with inspect 7 ms, and few commands need it

        described = [
            {"manifest": manifest, "files": [asdict(file) for file in files]}
            for manifest, files in services
        ]
        body = {"project": project, "prune": prune, "services": described}
        return self._transport.json("POST", "/v1/plan", answers.Plan, body=body, timeout_s=_PLAN_S)

    def create_release(
        self,
        service: str,
        *,
        manifest: dict[str, Any],
        bundle: str,
        timeout_s: float | None,
        origin: dict[str, Any] | None = None,
        fallback: bool = True,
        expect: int | None = None,
    ) -> answers.BegunRelease:
        """Begin a release, or return the one that is in progress or unchanged.

        With `expect`, raises ConflictError if the release would replace any other release.
        """
        body: dict[str, Any] = {"manifest": manifest, "bundle": bundle, "origin": origin or {}}
        body["fallback"] = fallback
        if expect is not None:
            body["expect"] = expect
        if timeout_s is not None:
            body["timeout_s"] = timeout_s
        # Safe to repeat: the same manifest and bundle give the same release.
        path = f"{_service(service)}/releases"
        return self._transport.json("POST", path, answers.BegunRelease, body=body)

    def release(self, service: str, number: int, *, wait_s: float = 0) -> answers.Release:
        """Return a release when it leaves `starting`, or after `wait_s` seconds."""
        path = f"{_service(service)}/releases/{number}"
        return self._transport.json(
            "GET", path, answers.Release, query={"wait": f"{wait_s:g}"}, timeout_s=wait_s + 30
        )

    def releases(
        self,
        service: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        room: Room | None = None,
    ) -> answers.Page[answers.ListedRelease]:
        """Return a page of a service's releases, newest first: `{items, next}`."""
        query = {"limit": str(limit), "cursor": cursor}
        path = f"{_service(service)}/releases"
        return self._transport.json(
            "GET", path, answers.Page[answers.ListedRelease], query=query, room=room
        )

    def roll_back(
        self,
        service: str,
        number: int | None,
        *,
        timeout_s: float | None,
        fallback: bool = True,
    ) -> answers.RolledBack:
        """Begin a release that repeats an earlier one; returns the same as `create_release`."""
        body: dict[str, Any] = {"number": number, "fallback": fallback}
        if timeout_s is not None:
            body["timeout_s"] = timeout_s
        # Safe to repeat if it names a number, because the second request finds nothing to change.
        return self._transport.json(
            "POST",
            f"{_service(service)}/rollback",
            answers.RolledBack,
            body=body,
            repeatable=number is not None,
        )

    def services(self) -> list[answers.Service]:
        """Return the deployed services."""
        return self._transport.items("/v1/services", answers.Service)

    def service(self, service: str) -> answers.ServiceInFull:
        """Return a service, deployed or not, and its parts that have not ended."""
        return self._transport.json("GET", _service(service), answers.ServiceInFull)

    def undeploy(
        self,
        service: str,
        *,
        running: str = "refuse",
        grace_s: float = 5.0,
        expect: int | None = None,
    ) -> answers.Undeployed:
        """Undeploy a service and return it; `ended` has the releases that it had.

        `running` sets the fate of executions that have not ended: `refuse`, `drain` or `cancel`.
        """
        query = {"running": running, "grace_s": f"{grace_s:g}"}
        if expect is not None:
            query["expect"] = str(expect)
        return self._transport.json("DELETE", _service(service), answers.Undeployed, query=query)

    def secrets(self) -> list[answers.Secret]:
        """Return services' secrets, without their values."""
        return self._transport.items("/v1/secrets", answers.Secret)

    def set_secret(self, name: str, value: str) -> answers.SecretSet:
        """Set a secret and return `{name, new, services}`; `services` are those that use it."""
        path = f"/v1/secrets/{_part(name, 'secret')}"
        return self._transport.json("PUT", path, answers.SecretSet, body={"value": value})

    def unset_secret(self, name: str, *, force: bool = False) -> answers.SecretUnset:
        """Remove a secret. Raises ConflictError if live services use it, unless forced."""
        path = f"/v1/secrets/{_part(name, 'secret')}"
        query = {"force": "true" if force else None}
        return self._transport.json("DELETE", path, answers.SecretUnset, query=query)

    def audit(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        room: Room | None = None,
        **wanted: str | None,
    ) -> answers.Page[answers.Entry]:
        """Return a page of the audit log, newest first: `{items, next}`.

        `wanted` may have `who`, `action`, `target`, `outcome`, and `since` and `until` in RFC 3339.
        """
        query = {**wanted, "limit": str(limit), "cursor": cursor}
        return self._transport.json(
            "GET", "/v1/audit", answers.Page[answers.Entry], query=query, room=room
        )

    def limits(self) -> list[answers.LimitState]:
        """Return the limits of all flows, and what was set in place of their manifests'."""
        return self._transport.items("/v1/limits", answers.LimitState)

    def set_limits(
        self, flow: str, limits: dict[str, int | None], *, until_deploy: bool = False
    ) -> answers.LimitState:
        """Set limits of a flow (`running`, `queue`), None for no limit; return all of them."""
        path = f"/v1/limits/{_part(flow, 'flow', safe='/')}"
        body = {**limits, "until_deploy": until_deploy}
        return self._transport.json("PATCH", path, answers.LimitState, body=body)

    def reset_limits(self, flow: str) -> answers.LimitState:
        """Let a flow's manifest decide about its limits again; return them."""
        path = f"/v1/limits/{_part(flow, 'flow', safe='/')}"
        return self._transport.json("DELETE", path, answers.LimitState)

    def settings(self) -> list[answers.Setting]:
        """Return the control plane's settings, with their defaults."""
        return self._transport.items("/v1/settings", answers.Setting)

    def change_settings(self, values: dict[str, Any]) -> list[answers.ChangedSetting]:
        """Set settings by name, or unset those whose value is None; return all of these.

        A value may also be a text, `a,b` for a list.
        """
        changed = self._transport.json(
            "PATCH", "/v1/settings", answers.Page[answers.ChangedSetting], body={"values": values}
        )
        return changed["items"]

    def backup(self) -> Iterator[bytes]:
        """Yield a backup of the control plane in pieces; see `koco.control.backup`.

        Raises:
            UnreachableError: the connection broke. The backup is incomplete then.
        """
        from koco.client.local_files import CHUNK_BYTES  # hashlib, which few commands need

        headers = {"Accept": "application/x-tar"}
        with self._transport.stream(
            "/v1/backup", method="POST", query={}, headers=headers, silence_s=_COPY_S
        ) as incoming:
            yield from incoming.pieces(CHUNK_BYTES)

    def me(self) -> answers.Me:
        """Return the owner of the context's key or session, and its permissions."""
        return self._transport.json("GET", "/v1/me", answers.Me)

    def log_in(self, user: str, password: str) -> answers.Session:
        """Begin a session and return its `token` and the time when it `expires`."""
        body = {"name": user, "password": password}
        return self._transport.json(
            "POST", "/v1/session", answers.Session, body=body, repeatable=False
        )

    def log_out(self) -> None:
        """End the session whose token is the context's key."""
        self._transport.call("DELETE", "/v1/session")

    def keys(self) -> list[answers.Key]:
        """Return the keys by name, without their secrets."""
        return self._transport.items("/v1/keys", answers.Key)

    def create_key(
        self,
        name: str,
        *,
        scopes: list[str],
        flows: list[str],
        all_executions: bool,
        expires_s: float | None,
    ) -> answers.KeyWithSecret:
        """Create a key and return it with its `secret`, which is shown only once."""
        body: dict[str, Any] = {"name": name, "scopes": scopes, "flows": flows}
        body["all_executions"] = all_executions
        if expires_s is not None:
            body["expires_s"] = expires_s
        return self._transport.json(
            "POST", "/v1/keys", answers.KeyWithSecret, body=body, headers=_once()
        )

    def rotate_key(
        self, name: str, *, grace_s: float, expires_s: float | None = None
    ) -> answers.KeyWithSecret:
        """Give a key a new `secret`; the old one stays valid for `grace_s`."""
        body = {"grace_s": grace_s} | ({} if expires_s is None else {"expires_s": expires_s})
        path = f"/v1/keys/{_part(name, 'key')}/rotate"
        # Idempotent, because a second rotation would replace a secret whose response got lost.
        return self._transport.json("POST", path, answers.KeyWithSecret, body=body, headers=_once())

    def revoke_key(self, name: str) -> dict[str, Any]:
        """Revoke a key and return its last state."""
        path = f"/v1/keys/{_part(name, 'key')}"
        return self._transport.json("DELETE", path, dict[str, Any], repeatable=False)

    def webhooks(self) -> list[answers.Webhook]:
        """Return the webhooks that the caller may see, by name."""
        return self._transport.items("/v1/webhooks", answers.Webhook)

    def create_webhook(
        self, name: str, url: str, *, flows: list[str], events: list[str] | None, secret: str = ""
    ) -> answers.WebhookWithSecret:
        """Create a webhook and return it with its `secret`, which is shown only once."""
        body: dict[str, Any] = {"name": name, "url": url, "flows": flows}
        body |= {} if events is None else {"on": events}
        body |= {"secret": secret} if secret else {}
        return self._transport.json(
            "POST", "/v1/webhooks", answers.WebhookWithSecret, body=body, headers=_once()
        )

    def rotate_webhook(self, name: str, *, grace_s: float) -> answers.WebhookWithSecret:
        """Give a webhook a new `secret`; the old one signs, too, for `grace_s`."""
        path = f"/v1/webhooks/{_part(name, 'webhook')}/rotate"
        return self._transport.json(
            "POST", path, answers.WebhookWithSecret, body={"grace_s": grace_s}, headers=_once()
        )

    def test_webhook(self, name: str) -> answers.Tested:
        """Send a test message to a webhook; return how it went."""
        path = f"/v1/webhooks/{_part(name, 'webhook')}/test"
        return self._transport.json(
            "POST", path, answers.Tested, repeatable=False, timeout_s=_ENDPOINT_S
        )

    def remove_webhook(self, name: str) -> dict[str, Any]:
        """Remove a webhook and return its last state."""
        path = f"/v1/webhooks/{_part(name, 'webhook')}"
        return self._transport.json("DELETE", path, dict[str, Any], repeatable=False)

    def deliveries(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        room: Room | None = None,
        **wanted: str | None,
    ) -> answers.Page[answers.Delivery]:
        """Return a page of the webhooks' log, newest first: `{items, next}`.

        `wanted` may have `webhook`, `fid` and `status`.
        """
        query = {**wanted, "limit": str(limit), "cursor": cursor}
        return self._transport.json(
            "GET", "/v1/deliveries", answers.Page[answers.Delivery], query=query, room=room
        )

    def redeliver(self, numbers: list[int]) -> answers.SentAgain:
        """Send some messages to webhooks again; return how many."""
        body = {"deliveries": numbers}
        return self._transport.json(
            "POST", "/v1/deliveries/redeliver", answers.SentAgain, body=body
        )

    def redeliver_failed(self, webhook: str) -> answers.SentAgain:
        """Send again what a webhook was not told; return how many messages that is."""
        body = {"webhook": webhook}
        return self._transport.json(
            "POST", "/v1/deliveries/redeliver", answers.SentAgain, body=body
        )

    def users(self) -> list[answers.User]:
        """Return the users by name."""
        return self._transport.items("/v1/users", answers.User)

    def create_user(
        self,
        name: str,
        password: str,
        *,
        scopes: list[str],
        flows: list[str],
        all_executions: bool,
        email: str = "",
    ) -> answers.Holder:
        """Create a user; raises ConflictError if a user or a key has that name."""
        body = {
            "name": name,
            "password": password,
            "scopes": scopes,
            "flows": flows,
            "all_executions": all_executions,
            **({"email": email} if email else {}),
        }
        return self._transport.json(
            "POST", "/v1/users", answers.Holder, body=body, repeatable=False
        )

    def change_user(self, name: str, **changes: Any) -> answers.User:
        """Change a user and return them. Changes that are None are left out.

        `changes` may have `active`, `email`, `scopes`, `flows` and `all_executions`.
        """
        body = {key: value for key, value in changes.items() if value is not None}
        path = f"/v1/users/{_part(name, 'user')}"
        return self._transport.json("PATCH", path, answers.User, body=body)

    def remove_user(self, name: str) -> dict[str, Any]:
        """Remove a user and end their sessions."""
        return self._transport.json("DELETE", f"/v1/users/{_part(name, 'user')}", dict[str, Any])

    def set_password(self, name: str, password: str, *, old: str | None = None) -> dict[str, Any]:
        """Set a user's password. A caller who is not an admin must give the old one."""
        path = f"/v1/users/{_part(name, 'user')}/password"
        body = {"password": password, "old": old}
        # Not repeated: after the first request, the session and the old password are invalid.
        return self._transport.json("PUT", path, dict[str, Any], body=body, repeatable=False)

    def stream(
        self,
        fid: str,
        *,
        since: int = 0,
        kinds: Sequence[str] = (),
        tail: int | None = None,
        follow: bool = False,
        patience_s: float = 60.0,
    ) -> Stream:
        """Return an execution's events with a seq above `since`, as lines; see `Stream`."""
        query = {"kind": ",".join(kinds), "follow": "true" if follow else None}
        return Stream(
            self._transport,
            _execution(fid),
            query=query,
            since=since,
            tail=tail,
            patience_s=patience_s,
        )

    def stream_many(
        self,
        fids: Sequence[str] = (),
        *,
        kinds: Sequence[str] = (),
        contains: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        patience_s: float = 60.0,
        **filters: Any,
    ) -> "ManyStream":
        """Return the events of some executions, or of all that match filters; see `ManyStream`.

        `contains` is a text that the events have in their payloads. `filters` are those of
        `executions`.
        """
        from koco.client.many_stream import ManyStream  # most commands need one execution's

        query = {
            **_filters(**filters),
            "fid": ["latest" if fid == "-" else fid for fid in fids],
            "kind": ",".join(kinds),
            "contains": contains,
            "tail": None if tail is None else str(tail),
            "follow": "true" if follow else None,
        }
        return ManyStream(self._transport, query=query, patience_s=patience_s)

    def log(
        self,
        *,
        level: str | None = None,
        since: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        patience_s: float = 60.0,
    ) -> "CursorLines[answers.LogEntry]":
        """Return the entries of the control plane's own log, oldest first; see `CursorLines`."""
        from koco.client.cursor_lines import CursorLines  # most commands do not follow it

        query = {
            "level": level,
            "since": since,
            "tail": None if tail is None else str(tail),
            "follow": "true" if follow else None,
        }
        return CursorLines(
            self._transport, "/v1/log", answers.LogEntry, query=query, patience_s=patience_s
        )

    def runner_log(
        self,
        service: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        patience_s: float = 60.0,
    ) -> "CursorLines[answers.RunnerLine]":
        """Return what a service's runners have written outside any execution."""
        from koco.client.cursor_lines import CursorLines  # as above

        tail_text = None if tail is None else str(tail)
        query = {"tail": tail_text, "follow": "true" if follow else None}
        path = f"{_service(service)}/log"
        return CursorLines(
            self._transport, path, answers.RunnerLine, query=query, patience_s=patience_s
        )

    def events(self, fid: str, **options: Any) -> Iterator[answers.Event]:
        """Yield the same events as dicts: `{seq, ts, kind, payload}`."""
        stream = self.stream(fid, **options)
        for lines in stream:
            yield from map(stream.decode, lines)


def _filters(
    *,
    statuses: Sequence[str] = (),
    flow: str | None = None,
    service: str | None = None,
    user: str | None = None,
    tags: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
) -> dict[str, str | list[str] | None]:
    """Return the parameters of the filters that lists and bulk requests share."""
    return {
        "status": ",".join(statuses),
        "flow": flow,
        "service": service,
        "user": user,
        "tag": list(tags),
        "since": since,
        "until": until,
    }


def _selection(
    *,
    fids: Sequence[str] = (),
    search: str | None = None,
    parent: str | None = None,
    **filters: Any,
) -> dict[str, str | list[str] | None]:
    """Return the parameters of bulk requests: fids, or filters."""
    return {"fid": list(fids), **_filters(**filters), "search": search, "parent": parent}


def _flag(is_set: bool) -> str | None:
    return "true" if is_set else None


def _execution(fid: str) -> str:
    if "/" in fid:
        hint = f"`koco ps -a --flow {fid}` lists its executions"
        raise UsageError(f"{fid!r} is a flow, and this command needs an execution", hint=hint)
    return f"/v1/executions/{_part('latest' if fid == '-' else fid, 'fid')}"


def _service(name: str) -> str:
    return f"/v1/services/{_part(name, 'service')}"


def _part(name: str, what: str, *, safe: str = "") -> str:
    """Return a name as a path segment. Empty names and dots are refused: they change the path."""
    if not name.strip("/") or any(part in ("", ".", "..") for part in name.split("/")):
        raise UsageError(f"{name!r} is not a valid {what}")
    return quote(name, safe=safe)


def _once() -> dict[str, str]:
    """Return the header that makes a repeated request take effect only once."""
    import secrets  # 5 ms, and few commands need it

    return {"Idempotency-Key": secrets.token_urlsafe(16)}


def _keyed(key: str | None) -> dict[str, str]:
    """Return the header with an idempotency key, if one is given.

    Raises:
        UsageError: it does not fit in a header.
    """
    if key is None:
        return {}
    fits = 0 < len(key) <= _KEY_LENGTH and key.isascii() and key.isprintable()
    if not fits or key != key.strip():
        raise UsageError(
            f"{key[:40]!r} is not a valid idempotency key",
            hint=f"a key has 1 to {_KEY_LENGTH} printable ASCII characters",
        )
    return {"Idempotency-Key": key}
