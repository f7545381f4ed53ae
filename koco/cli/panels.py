"""The groups in which `koco --help` lists the commands."""

from collections.abc import Iterable

#: Title -> the commands and groups of commands below it, in the order of the help.
PANELS = {
    "Start": ("init", "dev", "up", "down", "status", "doctor"),
    "Deploy": ("validate", "plan", "deploy", "releases", "rollback", "undeploy"),
    "Run": (
        *("flows", "run", "wait", "cancel", "retry", "resume", "schedule"),
        *("inbox", "answer", "send", "mcp"),
    ),
    "Observe": (
        *("ps", "top", "show", "logs", "result", "timeline", "steps", "stack", "usage"),
        *("files", "export", "delete", "webhook"),
    ),
    "Access": ("login", "logout", "context", "key", "user", "secret", "audit"),
    "Settings": ("config", "limits", "schema", "completion", "backup", "store", "blobs"),
}

#: The title above commands that no panel names.
REST = "Other"


def sort(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names by panel. Panels without any of them are left out."""
    left = list(names)
    found = {title: [name for name in panel if name in left] for title, panel in PANELS.items()}
    found[REST] = [name for name in left if not any(name in panel for panel in PANELS.values())]
    return {title: panel for title, panel in found.items() if panel}
