"""Find a service's own endpoint in its module, and bind it for Ray Serve.

Serve imports `build`, in a separate process. A runner calls `describe` to describe the endpoint
before it is given to Serve.
"""

import copy
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from koco.errors import DeployError
from koco.manifest.descriptions import AppDescription
from koco.sdk.endpoint import public as opened
from koco.sdk.entrypoints import loader

#: How many requests a replica handles at once. Handlers mostly wait; Serve's default is 5.
_ONGOING = 100
#: How often Serve checks a replica's health (seconds); its default is 10.
_CHECK_S = 2.0
#: How long a replica without requests continues once it is told to stop (seconds).
_FAREWELL_S = 1.0


def describe(
    path: str, service: str, *, public: Iterable[str] = (), named: Collection[str] = ()
) -> AppDescription:
    """Import an endpoint and return its description.

    `named` are the names of the manifest's own flows.

    Raises:
        DeployError: it is not an endpoint, two flows have the same name, or a public path is not
            a route or belongs to a flow.
        Exception: anything that importing the user's module raises.
    """
    found = loader.find(path)
    app = serve_api_of(found, path)
    _refuse_late(app, found, path)
    about: AppDescription = app.describe(service)
    if not about.flows:
        raise DeployError(
            f"the app {path!r} has no `enter` route",
            hint="decorate a handler with @app.enter('/', model=…)",
        )
    paths: dict[str, str] = {}
    for flow in about.flows:
        if flow.name in paths:
            raise DeployError(
                f"the paths {paths[flow.name]!r} and {flow.path!r} of {path!r} "
                f"both make a flow called {flow.name!r}",
                hint="give one of them another path",
            )
        if flow.name in named:
            raise DeployError(
                f"the manifest and the endpoint's path {flow.path!r} "
                f"both make a flow called {flow.name!r}",
                hint="rename the flow in the manifest, or give the endpoint another path",
            )
        paths[flow.name] = flow.path or ""
        _refuse_letters(flow.path or "", path)
    opened.check(app, public)
    return about


def _refuse_late(app: Any, found: Any, path: str) -> None:
    """Refuse flows, locks and leases that the app got after `serve.ingress` had copied it.

    The replica would answer 404 there.
    """
    from koco.sdk.endpoint.serve_api import ServeAPI

    copied = _bound_app(found, ServeAPI)
    if copied is None or copied is app:
        return
    for what in ("flow_handlers", "locks", "leases"):
        if late := [name for name in getattr(app, what) if name not in getattr(copied, what)]:
            word = {"flow_handlers": "flow", "locks": "lock", "leases": "lease"}[what]
            raise DeployError(
                f"the {word} {late[0]!r} of {path!r} is defined below `@serve.ingress`, which "
                "copies the app as it is there",
                hint="move it above the deployment's class",
            )


def _refuse_letters(flow_path: str, path: str) -> None:
    if not flow_path.isascii():
        raise DeployError(
            f"the path {flow_path!r} of {path!r} is not ASCII, and Ray Serve cannot route it",
            hint="use ASCII letters; a parameter, as in '/{kind}', can have any value",
        )


def serve_api_of(found: Any, path: str) -> Any:
    """Return the `ServeAPI` that an object is, or was made from."""
    from fastapi import FastAPI

    from koco.sdk.endpoint.serve_api import ServeAPI, instances_of

    if isinstance(found, ServeAPI):
        return found
    if isinstance(found, FastAPI) or not is_bound(found):
        _refuse_the_original(found, path)
        kind = type(found).__name__
        if callable(found) and not isinstance(found, type) and not hasattr(found, "router"):
            raise DeployError(
                f"the app {path!r} is a {kind}, and koco calls no application builders",
                hint="bind it in its module, as in `app = build({})`, and name that",
            )
        raise DeployError(
            f"the app {path!r} is a {kind}, not a ServeAPI",
            hint="`from koco import ServeAPI`, and `app = ServeAPI()`: it is a FastAPI",
        )
    made = instances_of(path.partition(":")[0] if ":" in path else path.rpartition(".")[0])
    if len(made) == 1:
        return made[0]
    if (bound := _bound_app(found, ServeAPI)) is not None:
        return bound
    if not made:
        _refuse_the_original(found, path)
        raise DeployError(
            f"the app {path!r} was made from no ServeAPI with an `enter` route",
            hint="`from koco import ServeAPI`, and @serve.ingress(app) with that app",
        )
    raise DeployError(
        f"the app {path!r} could be made from {len(made)} ServeAPIs",
        hint="keep the one that is bound in the module that `app` names",
    )


def _bound_app(found: Any, kind: type) -> Any:
    """Return the app that `serve.ingress` made a deployment of; None if Serve keeps it elsewhere.

    Serve keeps a copy in the closure of its class's `__init__`. A module may have several apps.
    """
    deployment = getattr(found, "_bound_deployment", found)
    for each in getattr(getattr(deployment, "func_or_class", None), "__mro__", ()):
        closure = getattr(vars(each).get("__init__"), "__closure__", None) or ()
        for cell in closure:
            # A cell may be empty still.
            with suppress(ValueError):
                if isinstance(cell.cell_contents, kind):
                    return cell.cell_contents
    return None


def _refuse_the_original(found: Any, path: str) -> None:
    """Refuse an app of the package `kodosumi` itself, which needs Kodosumi's own servers.

    An object that is bound for Serve does not show its class, so the import is enough.
    """
    names = [f"{each.__module__}.{each.__name__}" for each in type(found).__mro__]
    original = sys.modules.get("kodosumi.serve")
    is_ours = getattr(sys.modules.get("kodosumi"), "is_koco", False)
    if "kodosumi.serve.ServeAPI" in names or (original is not None and not is_ours):
        raise DeployError(
            f"the app {path!r} uses the package `kodosumi` that is installed on the nodes",
            hint="remove it from the service's dependencies and set `runtime: {kodosumi: true}`:"
            " then `import kodosumi` finds koco's own",
        )


def is_bound(found: Any) -> bool:
    """Return whether an object is something that Serve can run: an application or a deployment."""
    if "ray.serve" not in sys.modules:
        return False  # binding one imports it
    from ray.serve import Application, Deployment

    return isinstance(found, Application | Deployment)


def build(args: dict[str, Any]) -> Any:
    """Return the application that Serve runs. (Serve calls this as its application builder.)"""
    from ray.serve import Application, Deployment

    path = args["app"]
    with _no_cpu_unless_named():
        found = loader.find(path)
        if isinstance(found, Deployment):
            found = found.bind()
    if not isinstance(found, Application):
        found = _bind(path, timeout_s=args["timeout_s"])
    if not (options := args.get("serve")):
        return found
    # Only the deployment at its entry; those that it was bound with stay unchanged.
    made = copy.copy(found)
    made._bound_deployment = apply_options(found._bound_deployment, options)
    return made


@contextmanager
def _no_cpu_unless_named() -> Iterator[None]:
    """Make deployments that are created meanwhile ask for no CPU, unless their author sets one.

    An endpoint mostly waits. Serve would ask for one CPU for each replica; once a deployment
    exists, that default cannot be distinguished from an author's own `num_cpus=1`.
    """
    from ray.serve._private.config import ReplicaConfig

    create, kept = ReplicaConfig.create, vars(ReplicaConfig)["create"]

    def created(*args: Any, **more: Any) -> Any:
        options = more.get("ray_actor_options") or {}
        if options.get("num_cpus") is None:
            more["ray_actor_options"] = {**options, "num_cpus": 0}
        return create(*args, **more)

    setattr(ReplicaConfig, "create", staticmethod(created))  # noqa: B010 - mypy refuses it else
    try:
        yield
    finally:
        setattr(ReplicaConfig, "create", kept)  # noqa: B010


def apply_options(deployment: Any, options: dict[str, Any]) -> Any:
    """Return a deployment with the manifest's `serve` options over those in its code.

    Raises:
        Exception: anything that Serve raises for options that it refuses.
    """
    wanted = dict(options)
    if "ray_actor_options" in wanted:
        actor = wanted["ray_actor_options"] or {}
        wanted["ray_actor_options"] = {**(deployment.ray_actor_options or {}), **actor}
    if isinstance(wanted.get("num_replicas"), int):
        # A number replaces autoscaling that the code may ask for; it is not a limit of it.
        wanted.setdefault("autoscaling_config", None)
    return deployment.options(**wanted)


def _bind(path: str, *, timeout_s: float) -> Any:
    """Bind a bare `ServeAPI`. The replica creates it, by importing its module."""
    from ray import serve

    def make() -> Any:
        return loader.find(path)

    deployment = serve.deployment(
        name=os.environ.get("KOCO_SERVICE", "endpoint"),
        num_replicas=1,
        max_ongoing_requests=_ONGOING,
        health_check_period_s=_CHECK_S,
        graceful_shutdown_wait_loop_s=_FAREWELL_S,
        # Requests that are pending when the next release takes over are finished.
        graceful_shutdown_timeout_s=timeout_s + _FAREWELL_S,
        # Handlers wait more than they compute, and Ray does not limit a replica's use anyway.
        ray_actor_options={"num_cpus": 0},
    )
    return deployment(serve.ingress(make)()).bind()
