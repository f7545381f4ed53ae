"""Find changes that others made to koco's Serve applications."""

from typing import Any

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
