"""Converts the options of an application's deployments, and the application's other keys."""

from typing import Any

from koco.manifest import key_literals, rules
from koco.manifest.problems import KeyPath
from koco.project.conversion.draft import Draft
from koco.project.conversion.sources import Application

_SECTION = "serve"

#: The options of a deployment that a manifest can set.
_OPTIONS = frozenset(
    {
        *("num_replicas", "max_ongoing_requests", "max_queued_requests", "user_config"),
        *("autoscaling_config", "graceful_shutdown_wait_loop_s", "graceful_shutdown_timeout_s"),
        *("health_check_period_s", "health_check_timeout_s", "ray_actor_options"),
        *("placement_group_bundles", "placement_group_strategy", "max_replicas_per_node"),
        *("logging_config", "request_router_config"),
    }
)

#: The keys of an application that this or another module converts.
_CONVERTED = ("name", "route_prefix", "import_path", "runtime_env", "deployments")

#: Options by their former names.
_FORMER = {"max_concurrent_queries": "max_ongoing_requests"}

#: Why an option or a key of an application has no counterpart.
_LOST = {
    "rolling_update_percentage": "each release is an application of its own",
    "max_surge_percent": "each release is an application of its own",
    "route_prefix": "koco's paths begin with the service's name",
    "args": "koco does not call builders: bind the application in its module",
    "host": "set it with `koco up --host`",
    "port": "set it with `koco up --port`",
    "logging_config": "koco keeps the output of executions; `koco logs` shows it",
    "runtime_env": "a replica has its service's environment: use `runtime`",
}


def convert(application: Application, draft: Draft, ingress: str | None) -> None:
    """Add the options of an application's ingress to a draft, and notes on everything else."""
    _convert_keys(application, draft)
    deployments = application.data.get("deployments") or []
    if not isinstance(deployments, list):
        raise application.wrong(("deployments",), "a list of deployments")
    for index, each in enumerate(deployments):
        if not isinstance(each, dict):
            raise application.wrong(("deployments", index), "a mapping of options")
    chosen = _choose(deployments, ingress)
    for index, options in enumerate(deployments):
        name = options.get("name", index)
        if index == chosen:
            _convert_options(options, f"deployments.{name}", draft)
        else:
            message = f"`serve` is for the ingress; set these options in the code: {_list(options)}"
            draft.note(f"deployments.{name}", message, _SECTION)


def _list(options: dict[str, Any]) -> str:
    return ", ".join(key for key in options if key != "name") or "none"


def _choose(deployments: list[dict[str, Any]], ingress: str | None) -> int | None:
    """Return the index of the ingress. If the code does not say it, there may be one only."""
    for index, each in enumerate(deployments):
        if ingress is not None and each.get("name") == ingress:
            return index
    return 0 if len(deployments) == 1 else None


def _convert_keys(application: Application, draft: Draft) -> None:
    prefix = application.data.get("route_prefix")
    if isinstance(prefix, str) and rules.slug(prefix) not in ("", draft.service):
        message = f"paths begin with the service's name; {rules.slug(prefix)!r} keeps this prefix"
        draft.note("route_prefix", message, "service")
    for key in (each for each in application.data if each not in _CONVERTED):
        draft.note(key, _LOST.get(key, "koco has no counterpart"))


def _convert_options(options: dict[str, Any], key: str, draft: Draft) -> None:
    for given, value in options.items():
        option = _FORMER.get(given, given)
        if option == "name" or value is None:
            continue
        if option not in _OPTIONS:
            draft.note(f"{key}.{given}", _LOST.get(given, "koco has no counterpart"), _SECTION)
            continue
        kept = _without_keys(value, (key, given), draft)
        if option == "ray_actor_options" and isinstance(kept, dict) and "runtime_env" in kept:
            kept = {name: each for name, each in kept.items() if name != "runtime_env"}
            draft.note(f"{key}.{given}.runtime_env", _LOST["runtime_env"], _SECTION)
        if kept not in ({}, None):
            draft.serve[option] = kept


def _without_keys(value: Any, path: KeyPath, draft: Draft) -> Any:
    """Return a value without the literals in it that look like keys."""
    if isinstance(value, dict):
        kept = {k: _without_keys(each, (*path, k), draft) for k, each in value.items()}
        return {k: each for k, each in kept.items() if each is not _LEFT_OUT}
    if isinstance(value, list):
        items = [_without_keys(each, (*path, at), draft) for at, each in enumerate(value)]
        return [each for each in items if each is not _LEFT_OUT]
    if isinstance(value, str) and key_literals.classify(str(path[-1]), value):
        message = "looks like a key: make it a secret, and read it from the environment"
        draft.note(".".join(map(str, path)), message, _SECTION)
        return _LEFT_OUT
    return value


#: Takes the place of a literal that looks like a key.
_LEFT_OUT = object()
