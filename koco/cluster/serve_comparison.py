"""Compares Serve's applications with koco's: declared, being built, and changed by others."""

from typing import Any

from koco.cluster.dashboard import ServeError

#: The keys of a configuration in the order of the message, and a description of each.
_ABOUT = {
    "deployments": "options of its deployments",
    "args": "its arguments",
    "runtime_env": "its environment",
    "import_path": "its code",
    "route_prefix": "its route",
}

#: The message if the application is gone.
REMOVED = "somebody else has removed its Serve application"


def compare(found: dict[str, Any] | None, wanted: dict[str, Any]) -> str | None:
    """Return how others changed an application, or None if it is as koco wrote it.

    `found` is Serve's entry for it, or None if Serve has none. `wanted` is koco's configuration.
    """
    if found is None or found.get("status") == "DELETING":
        return REMOVED
    config = found.get("deployed_app_config")
    if config is None:
        return "somebody else has put another Serve application in its place"
    keys = [key for key in {**_ABOUT, **config, **wanted} if config.get(key) != wanted.get(key)]
    if not keys:
        return None
    what = ", ".join(_ABOUT.get(key, key) for key in keys)
    return f"somebody else has changed its Serve application: {what}"


def declared_applications(details: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the configurations that a PUT must include so that Serve keeps the applications.

    Serve keeps applications that were not started through the REST API, even if they are left out.

    Raises:
        ServeError: Serve does not report the configuration of one of them.
    """
    kept: list[dict[str, Any]] = []
    for name, found in details["applications"].items():
        config = found.get("deployed_app_config")
        if config is not None:
            kept.append(config)
        elif found.get("source") != "imperative" and found.get("status") != "DELETING":
            # A configuration that cannot be read does not mean that there is no application.
            raise ServeError(
                f"Serve does not tell how its application {name!r} is configured",
                hint="nothing was changed; try again when `serve status` shows it running",
            )
    return kept


def is_there(config: dict[str, Any], details: dict[str, Any]) -> bool:
    """Return whether Serve has an application with this configuration that has not failed."""
    found = details["applications"].get(config["name"]) or {}
    return found.get("deployed_app_config") == config and found.get("status") != "DEPLOY_FAILED"


def is_building(found: dict[str, Any]) -> bool:
    """Return whether Serve imports an application, and does not know its deployments yet."""
    return not found.get("deployments") and found.get("status") in ("DEPLOYING", "NOT_STARTED")
