"""What others have made of Serve applications that are koco's."""

from typing import Any

#: The keys in the order in which they are told of, and what they are about.
_ABOUT = {
    "deployments": "options of its deployments",
    "args": "what it is built from",
    "runtime_env": "its environment",
    "import_path": "its code",
    "route_prefix": "its route",
}

#: What is said of one that is not there any more.
REMOVED = "somebody else has removed its Serve application"


def drift(found: dict[str, Any] | None, wanted: dict[str, Any]) -> str | None:
    """Say what somebody else made of an application; None where it is as koco wrote it.

    `found` is what Serve says of it, None for nothing; `wanted` its configuration.
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
