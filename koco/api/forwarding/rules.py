"""Which requests a process answers that does not lead: those that the store alone can answer."""

import re
from typing import Any

from koco.control.container import Parts
from koco.forms.elements.choices import InputFiles

#: Reads of executions and their events, and what is about this process.
_READ_HERE = re.compile(
    r"/health|/v1/metrics|/v1/changes|/v1/events|/v1/executions"
    r"|/v1/executions/(?!retry$|resume$|cancel$)[^/]+(/events|/result|/steps)?"
)
_LAUNCH = re.compile(r"/v1/flows/(.+)")
#: Headers of launches that need what only the leader has.
_OF_LEADER = frozenset({b"prefer", b"webhook", b"webhook-on", b"webhook-secret"})
#: The largest launch that is accepted here (bytes). It is kept, in case only the leader can.
LAUNCH_BYTES = 256 * 1024


def is_read_here(scope: Any) -> bool:
    """Return whether a request is a read that this process answers, or tries to."""
    return scope["method"] in ("GET", "HEAD") and bool(_READ_HERE.fullmatch(scope["path"]))


def is_launched_here(scope: Any, parts: Parts) -> bool:
    """Return whether a request is a launch that this process accepts, or tries to.

    It needs a plain body of JSON and a flow whose inputs koco checks by itself.
    """
    found = _LAUNCH.fullmatch(scope["path"]) if scope["method"] == "POST" else None
    if found is None:
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    is_small = length.isdigit() and int(length) <= LAUNCH_BYTES
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if not is_small or kind != b"application/json" or not _OF_LEADER.isdisjoint(headers):
        return False
    entry = next((each for each in parts.catalog.entries() if each.name == found[1]), None)
    if entry is None or entry.fault or entry.path is not None or entry.flow.dialect:
        return False
    has_files = entry.form is not None and any(
        isinstance(each, InputFiles) for each in entry.form.elements
    )
    return not has_files
