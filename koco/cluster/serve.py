"""Ray Serve, through the dashboard's REST API: the applications that koco puts there.

The API is declarative for the whole cluster: what a PUT leaves out is removed, it
has no lock, and it restarts the build of what is still being built. So one
process alone writes it, one change at a time: read, merge, keep what it did not
create, write, watch. It never calls DELETE, which ends Serve for everybody.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.cluster import serve_drift
from koco.cluster.dashboard import Dashboard, ServeError
from koco.cluster.serve_failures import ApplicationFailed, Asked, asked, reason, waiting

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

#: What makes an application one of ours, whatever others call theirs.
BUILDER = "koco.sdk.endpoint.serving:build"

_PATH = "/api/serve/applications/"
#: What the dashboard puts in place of values for browsers; written back it would be the value.
_REDACTED = "<redacted>"
#: Pause between two looks at an application that comes up (seconds).
_LOOK_S = 0.1
#: How long a build may keep other changes waiting, which would start it anew (seconds).
_BUILD_S = 10.0
_REQUEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Application:
    """An application as koco wants it: of one service's one release."""

    service: str
    release: int
    import_path: str
    runtime_env: dict[str, Any]
    #: How long one of its requests may take.
    timeout_s: float
    #: Serve's options for its deployment: the manifest's `serve`.
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in Serve."""
        return name_of(self.service, self.release)

    def config(self) -> dict[str, Any]:
        """Return it as Serve takes it."""
        args: dict[str, Any] = {"app": self.import_path, "timeout_s": self.timeout_s}
        if self.options:
            # Not as Serve's own `deployments`: those come back with Ray's defaults filled in,
            # and would be another configuration than the one that was written.
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
    """Return where Serve has a release's application."""
    return f"/koco/{service}/{release}"


class Serve:
    """The cluster's Serve. All changes go through here, one at a time."""

    def __init__(self, *, dashboard: Callable[[], str] | None = None) -> None:
        self._dashboard = Dashboard(dashboard)
        self._turn = asyncio.Lock()
        self._url: str | None = None
        #: Those of ours that are there, as far as we know, by name.
        self.ours: set[str] = set()
        #: What Serve last said of those that do not run yet, by name.
        self.said: dict[str, str] = {}
        #: What their replicas ask for that do not run yet, by name.
        self.asked: dict[str, list[Asked]] = {}
        #: Those that are on their way, by name.
        self._coming: dict[str, asyncio.Event] = {}

    async def bring_up(
        self, application: Application, *, is_wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Put an application there, unless it is, and return once it runs.

        `is_wanted` is asked once it is its turn: others' may take long, and its release may be
        gone by then. Nothing is changed in that case, and False is returned.

        Raises:
            ApplicationFailed: it did not come up; it is still there.
            ServeError: Serve cannot be asked.
        """
        name = application.name
        coming = self._coming.setdefault(name, asyncio.Event())
        try:
            async with self._turn:
                if not is_wanted():
                    return False
                await self._ensure(name, application.config())
                await self._built(name)
            await self._running(name)
        finally:
            self._coming.pop(name, None)
            self.asked.pop(name, None)
            coming.set()
        return True

    async def arrived(self, service: str, release: int) -> None:
        """Wait while a release's application is on its way."""
        if coming := self._coming.get(name_of(service, release)):
            await coming.wait()

    def is_coming(self, service: str, release: int) -> bool:
        """Whether a release's application is on its way."""
        return name_of(service, release) in self._coming

    async def is_routed(self, service: str, release: int, *, proxy: "httpx.AsyncClient") -> bool:
        """Return whether Serve's proxy knows a release's application.

        A proxy that has just started does not, though the application runs: it answers 404 itself.

        Raises:
            ServeError: Serve cannot be asked.
        """
        return await _is_routed(proxy, await self.base(), prefix_of(service, release))

    async def _ensure(self, name: str, wanted: dict[str, Any]) -> None:
        details = await self._details()
        there = details["applications"].get(name) or {}
        is_there = there.get("deployed_app_config") == wanted
        if not is_there or there.get("status") == "DEPLOY_FAILED":
            others = [each for each in _kept(details) if each["name"] != name]
            await self._put(details, [*others, wanted])
        self.ours.add(name)

    async def sweep(self, is_needed: Callable[[str], bool]) -> None:
        """Remove those of our applications that are not needed; others stay as they are.

        `is_needed` is asked once nothing else changes: while this waits for its turn, and for
        Serve's answer, applications come up that are needed by then.
        """
        if all(is_needed(name) for name in self.ours):
            return
        async with self._turn:
            details = await self._details()
            kept = _kept(details)
            # From here to the PUT nothing is awaited: the decision is of this moment.
            wanted = [each for each in kept if not _is_ours(each) or is_needed(each["name"])]
            if len(wanted) < len(kept):
                await self._put(details, wanted)
            self.ours = {each["name"] for each in wanted if _is_ours(each)}

    async def look(self) -> None:
        """Learn which of our applications are there, if Serve runs at all; it is not started."""
        # In turn: what comes up while Serve answers is in no answer yet, and ours all the same.
        async with self._turn:
            if await asyncio.to_thread(_is_started):
                details = await self._details()
                self.ours = {each["name"] for each in _kept(details) if _is_ours(each)}

    async def base(self, *, anew: bool = False) -> str:
        """Return the URL of Serve's own port, as this node reaches it.

        Raises:
            ServeError: Serve has none.
        """
        if self._url is None or anew:
            self._url = _url_of(await self._details())
        return self._url

    async def statuses(self) -> dict[str, str]:
        """Return the status of each of our applications, by name."""
        found = (await self._details())["applications"]
        return {name: str(found[name]["status"]) for name in self.ours if name in found}

    async def drift(self, wanted: dict[str, dict[str, Any]]) -> dict[str, str]:
        """Say what others made of applications, given by name with their configurations.

        Those that are as they were written, or on their way, are not in the answer.

        Raises:
            ServeError: Serve cannot be asked.
        """
        # Those that are on their way when Serve is asked may have arrived when it has answered.
        coming = {*self._coming}
        found = (await self._details())["applications"]
        coming |= {*self._coming}
        said = {name: serve_drift.drift(found.get(name), config) for name, config in wanted.items()}
        return {name: what for name, what in said.items() if what and name not in coming}

    async def _built(self, name: str) -> None:
        """Wait while Serve builds an application: another change now would begin it anew."""
        deadline = asyncio.get_running_loop().time() + _BUILD_S
        while asyncio.get_running_loop().time() < deadline:
            found = (await self._details())["applications"].get(name) or {}
            if found.get("deployments") or found.get("status") not in ("DEPLOYING", "NOT_STARTED"):
                return
            await asyncio.sleep(_LOOK_S)

    async def _running(self, name: str) -> None:
        import httpx

        # One for all looks: making one reads the certificates, and that blocks the loop.
        async with httpx.AsyncClient(trust_env=False, timeout=_REQUEST_S) as proxy:
            await self._routed(name, proxy)

    async def _routed(self, name: str, proxy: "httpx.AsyncClient") -> None:
        while True:
            details = await self._details()
            found = details["applications"].get(name)
            if found is None:
                raise ApplicationFailed(serve_drift.REMOVED)
            if found["status"] == "RUNNING":
                self._url = _url_of(details)
                # Serve's proxy hears of an application a moment after it runs.
                if await _is_routed(proxy, self._url, found["route_prefix"]):
                    return
            if found["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise reason(found)
            self.said[name] = waiting(found)
            self.asked[name] = asked(found)
            await asyncio.sleep(_LOOK_S)

    async def _details(self) -> dict[str, Any]:
        details = json.loads(await self._dashboard.ask("GET", _PATH))
        if not isinstance(details, dict) or not isinstance(details.get("applications"), dict):
            raise ServeError("Ray's dashboard did not say which Serve applications there are")
        return details

    async def _put(self, details: dict[str, Any], applications: list[dict[str, Any]]) -> None:
        config = {**_options(details), "applications": applications}
        if _REDACTED in json.dumps(config):
            raise ServeError(
                "Ray's dashboard hides the values of other Serve applications' variables",
                hint="a proxy between koco and the dashboard seems to speak as a browser",
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


def _kept(details: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the configuration of everything that a PUT must name lest it be removed.

    What was started by other means than the REST API is kept without being named.
    """
    kept: list[dict[str, Any]] = []
    for name, found in details["applications"].items():
        config = found.get("deployed_app_config")
        if config is not None:
            kept.append(config)
        elif found.get("source") != "imperative" and found.get("status") != "DELETING":
            # "Could not look" is never "nothing there".
            raise ServeError(
                f"Serve does not tell how its application {name!r} is configured",
                hint="nothing was changed; try again when `serve status` shows it running",
            )
    return kept


def _options(details: dict[str, Any]) -> dict[str, Any]:
    """Return Serve's options: those it runs with, or ours where it starts now."""
    known = ("proxy_location", "http_options", "grpc_options", "target_capacity")
    if details.get("controller_info"):
        return {key: details[key] for key in known if details.get(key) is not None}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Nobody but the control plane, on this node, needs to reach it.
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
            "Serve runs without an HTTP proxy, so an app of one's own cannot be reached",
            hint="start Serve with proxy_location HeadOnly or EveryNode",
        )
    host = str(options.get("host") or "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if options.get("ssl_certfile") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{options['port']}"
