"""Deploy koco's applications to Ray Serve through the dashboard's REST API.

The API is declarative for the whole cluster. A PUT removes all applications that it leaves out,
and restarts builds that are still in progress. The API has no lock. So only one process writes it,
one change at a time: read, merge, keep the applications of others, write, watch. Applications that
wait for their turn meanwhile are written together, and Serve builds them side by side. It never
calls DELETE, because that ends Serve for all users of the cluster.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.cluster import serve_comparison
from koco.cluster.dashboard import Dashboard, ServeError
from koco.cluster.serve_failures import (
    ApplicationFailed,
    Request,
    describe_waiting,
    missing_requests,
    read_failure,
)

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

#: The import path that identifies an application as koco's. Names do not, as others choose theirs.
BUILDER = "koco.sdk.endpoint.serving:build"

_PATH = "/api/serve/applications/"
#: The dashboard's placeholder for values if the client looks like a browser. Written back, it
#: would replace the value.
_REDACTED = "<redacted>"
#: Pause between two checks of an application that is starting (seconds).
_LOOK_S = 0.1
#: How long other changes wait for a build, because they would restart it (seconds).
_BUILD_S = 10.0
_REQUEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Application:
    """An application as koco wants it. Each release of a service has one."""

    service: str
    release: int
    import_path: str
    runtime_env: dict[str, Any]
    #: Time limit of one of its requests (seconds).
    timeout_s: float
    #: Serve's options for its deployment: the manifest's `serve`.
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in Serve."""
        return name_of(self.service, self.release)

    def config(self) -> dict[str, Any]:
        """Return its configuration in Serve's format."""
        args: dict[str, Any] = {"app": self.import_path, "timeout_s": self.timeout_s}
        if self.options:
            # Not in Serve's own `deployments`, because Serve returns those with Ray's defaults
            # filled in. The configuration would then differ from the one written.
            args["serve"] = self.options
        return {
            "name": self.name,
            "route_prefix": prefix_of(self.service, self.release),
            "import_path": BUILDER,
            "runtime_env": self.runtime_env,
            "args": args,
        }


def name_of(service: str, release: int) -> str:
    """Return the name of a release's application."""
    return f"koco-{service}-{release}"


def prefix_of(service: str, release: int) -> str:
    """Return the route prefix of a release's application in Serve."""
    return f"/koco/{service}/{release}"


def _outcome() -> "asyncio.Future[bool]":
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class _Wanted:
    """An application that waits to be declared."""

    config: dict[str, Any]
    is_wanted: Callable[[], bool]
    #: True once it is declared, False if it was not wanted any more.
    outcome: "asyncio.Future[bool]" = field(default_factory=_outcome)

    @property
    def name(self) -> str:
        return str(self.config["name"])


class Serve:
    """The cluster's Serve. All changes go through this object, one at a time."""

    def __init__(self, *, dashboard: Callable[[], str] | None = None) -> None:
        self._dashboard = Dashboard(dashboard)
        self._turn = asyncio.Lock()
        self._url: str | None = None
        #: The names of koco's applications that exist, as far as this process knows.
        self.ours: set[str] = set()
        #: Serve's last message about each application that does not run yet, by name.
        self.messages: dict[str, str] = {}
        #: The requests of replicas that do not run yet, by the application's name.
        self.requests: dict[str, list[Request]] = {}
        #: The applications that are being brought up, by name.
        self._coming: dict[str, asyncio.Event] = {}
        self._waiting: list[_Wanted] = []
        self._writer: asyncio.Task[None] | None = None

    async def bring_up(
        self, application: Application, *, is_wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Deploy an application unless it is deployed, and return True once it runs.

        `is_wanted` is called when its turn comes, because the changes before it may take long and
        its release may be gone by then. If it is not wanted, nothing changes and the result is
        False.

        Raises:
            ApplicationFailed: it did not come up. It stays in Serve's configuration.
            ServeError: Serve does not answer.
        """
        name = application.name
        coming = self._coming.setdefault(name, asyncio.Event())
        wanted = _Wanted(application.config(), is_wanted)
        self._waiting.append(wanted)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        try:
            if not await wanted.outcome:
                return False
            await self._running(name)
        finally:
            if wanted in self._waiting:
                self._waiting.remove(wanted)
            self._coming.pop(name, None)
            self.requests.pop(name, None)
            coming.set()
        return True

    async def wait_until_up(self, service: str, release: int) -> None:
        """Wait until a release's application is no longer being brought up."""
        if coming := self._coming.get(name_of(service, release)):
            await coming.wait()

    def is_coming(self, service: str, release: int) -> bool:
        """Return whether a release's application is being brought up."""
        return name_of(service, release) in self._coming

    async def is_routed(self, service: str, release: int, *, proxy: "httpx.AsyncClient") -> bool:
        """Return whether Serve's proxy knows a release's application.

        A proxy that has just started answers 404 itself, even if the application runs.

        Raises:
            ServeError: Serve does not answer.
        """
        return await _is_routed(proxy, await self.base(), prefix_of(service, release))

    async def _write(self) -> None:
        """Declare the applications that wait, all of them at once, until none waits.

        A task of its own, because the release whose application came first may be stopped.
        """
        while self._waiting:
            async with self._turn:
                # One of each name, because two of the same would overwrite each other.
                batch: dict[str, _Wanted] = {}
                for each in self._waiting:
                    batch.setdefault(each.name, each)
                await self._built(await self._declare([*batch.values()]))

    async def _declare(self, batch: list[_Wanted]) -> set[str]:
        """Declare applications, tell those who wait, and return the applications' names."""
        try:
            names = await self._ensure(batch)
        except Exception as exc:  # noqa: BLE001 - those who wait get it
            if len(batch) > 1:
                # It may be about one configuration, so each is tried on its own.
                return {name for each in batch for name in await self._declare([each])}
            self._settle(batch[0], exc)
            return set()
        for each in batch:
            self._settle(each, each.name in names)
        return names

    def _settle(self, wanted: _Wanted, outcome: bool | Exception) -> None:
        if wanted in self._waiting:
            self._waiting.remove(wanted)
        if wanted.outcome.done():
            return  # cancelled
        if isinstance(outcome, Exception):
            wanted.outcome.set_exception(outcome)
        else:
            wanted.outcome.set_result(outcome)

    async def _ensure(self, batch: list[_Wanted]) -> set[str]:
        """Write the configurations that differ from Serve's; return the names of all wanted."""
        details = await self._details()
        # Nothing is awaited from here to the PUT, so the decision is up to date.
        batch = [each for each in batch if each in self._waiting and each.is_wanted()]
        changed = {
            each.name: each.config
            for each in batch
            if not serve_comparison.is_there(each.config, details)
        }
        if changed:
            kept = serve_comparison.declared_applications(details)
            others = [each for each in kept if each["name"] not in changed]
            await self._put(details, [*others, *changed.values()])
        names = {each.name for each in batch}
        self.ours |= names
        return names

    async def sweep(self, is_needed: Callable[[str], bool]) -> None:
        """Remove koco's applications that are not needed. Applications of others stay unchanged.

        `is_needed` is called right before the change, because new applications may become needed
        while this method waits for its turn and for Serve's answer.
        """
        if all(is_needed(name) for name in self.ours):
            return
        async with self._turn:
            details = await self._details()
            kept = serve_comparison.declared_applications(details)
            # Nothing is awaited from here to the PUT, so the decision is up to date.
            wanted = [each for each in kept if not _is_ours(each) or is_needed(each["name"])]
            if len(wanted) < len(kept):
                await self._put(details, wanted)
            self.ours = {each["name"] for each in wanted if _is_ours(each)}

    async def look(self) -> None:
        """Update `ours` if Serve runs. Serve is not started."""
        # Under the lock, because an application that is deployed meanwhile would be missing in
        # Serve's answer, and so in `ours`.
        async with self._turn:
            if await asyncio.to_thread(_is_started):
                details = await self._details()
                self.ours = {
                    each["name"]
                    for each in serve_comparison.declared_applications(details)
                    if _is_ours(each)
                }

    async def base(self, *, anew: bool = False) -> str:
        """Return the URL of Serve's HTTP proxy, as this node reaches it.

        `anew` asks Serve even if the URL is known.

        Raises:
            ServeError: Serve has no HTTP proxy, or does not answer.
        """
        if self._url is None or anew:
            self._url = _url_of(await self._details())
        return self._url

    async def statuses(self) -> dict[str, str]:
        """Return the status of each of koco's applications, by name."""
        found = (await self._details())["applications"]
        return {name: str(found[name]["status"]) for name in self.ours if name in found}

    async def drift(self, wanted: dict[str, dict[str, Any]]) -> dict[str, str]:
        """Return how others changed applications, by name. `wanted` has koco's configurations.

        Unchanged applications, and those being brought up, are left out.

        Raises:
            ServeError: Serve does not answer.
        """
        # Taken before and after the request, because an application may come up during it.
        coming = {*self._coming}
        found = (await self._details())["applications"]
        coming |= {*self._coming}
        changes = {
            name: serve_comparison.compare(found.get(name), config)
            for name, config in wanted.items()
        }
        return {name: what for name, what in changes.items() if what and name not in coming}

    async def _built(self, names: set[str]) -> None:
        """Wait while Serve builds applications, because another change would restart the builds.

        Waits for at most `_BUILD_S` for each.
        """
        deadline = asyncio.get_running_loop().time() + _BUILD_S * len(names)
        while names and asyncio.get_running_loop().time() < deadline:
            try:
                found = (await self._details())["applications"]
            except ServeError:
                return  # those who wait for an application get the same error
            if not any(serve_comparison.is_building(found.get(name) or {}) for name in names):
                return
            await asyncio.sleep(_LOOK_S)

    async def _running(self, name: str) -> None:
        import httpx

        # One client for all checks, because creating one reads certificates and blocks the loop.
        async with httpx.AsyncClient(trust_env=False, timeout=_REQUEST_S) as proxy:
            await self._routed(name, proxy)

    async def _routed(self, name: str, proxy: "httpx.AsyncClient") -> None:
        while True:
            details = await self._details()
            found = details["applications"].get(name)
            if found is None:
                raise ApplicationFailed(serve_comparison.REMOVED)
            if found["status"] == "RUNNING":
                self._url = _url_of(details)
                # Serve's proxy learns of an application a moment after it runs.
                if await _is_routed(proxy, self._url, found["route_prefix"]):
                    return
            if found["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise read_failure(found)
            self.messages[name] = describe_waiting(found)
            self.requests[name] = missing_requests(found)
            await asyncio.sleep(_LOOK_S)

    async def _details(self) -> dict[str, Any]:
        details = json.loads(await self._dashboard.ask("GET", _PATH))
        if not isinstance(details, dict) or not isinstance(details.get("applications"), dict):
            raise ServeError("Ray's dashboard did not list Serve's applications")
        return details

    async def _put(self, details: dict[str, Any], applications: list[dict[str, Any]]) -> None:
        config = {**_options(details), "applications": applications}
        if _REDACTED in json.dumps(config):
            raise ServeError(
                "Ray's dashboard hides the values of other Serve applications' variables",
                hint="a proxy between koco and the dashboard seems to act as a browser",
            )
        log.info("Serve applications: %s", ", ".join(each["name"] for each in applications))
        await self._dashboard.ask("PUT", _PATH, json=config)


def _is_started() -> bool:
    import ray

    return any(
        each["namespace"] == "serve" and each["name"] == "SERVE_CONTROLLER_ACTOR"
        for each in ray.util.list_named_actors(all_namespaces=True)
    )


def _is_ours(config: dict[str, Any]) -> bool:
    return config.get("import_path") == BUILDER


def _options(details: dict[str, Any]) -> dict[str, Any]:
    """Return the options that Serve runs with, or koco's if the PUT starts Serve."""
    known = ("proxy_location", "http_options", "grpc_options", "target_capacity")
    if details.get("controller_info"):
        return {key: details[key] for key in known if details.get(key) is not None}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Only the control plane, on this node, needs to reach it.
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
    }


async def _is_routed(proxy: "httpx.AsyncClient", url: str, prefix: str) -> bool:
    import httpx

    try:
        answer = await proxy.get(f"{url}/-/routes")
        return answer.status_code == httpx.codes.OK and prefix in answer.json()
    except (httpx.TransportError, ValueError):
        return False  # the proxy is still starting


def _url_of(details: dict[str, Any]) -> str:
    options = details.get("http_options") or {}
    if not details.get("proxies") or not options.get("port"):
        raise ServeError(
            "Serve runs without an HTTP proxy, so apps cannot be reached",
            hint="start Serve with proxy_location HeadOnly or EveryNode",
        )
    host = str(options.get("host") or "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if options.get("ssl_certfile") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{options['port']}"
