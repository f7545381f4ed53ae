"""What a task has made: the flow's result, its results on the way, and its files.

Clients may not accept every media type: `Modes` says which, and shows values in one that they do.
"""

import json
import mimetypes
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from koco.api.agents.a2a.shapes.messages import Json, text_part, value_part
from koco.store.model import Execution, File

#: The ids of the artifact with a flow's return value, and of that with what it said on the way.
RESULT, RESULTS = "result", "results"


class Modes:
    """The media types that a client accepts; none given means all."""

    def __init__(self, accepted: Sequence[str] = ()) -> None:
        self._accepted = [each.partition(";")[0].strip().lower() for each in accepted]

    def __contains__(self, media_type: str) -> bool:
        return not self._accepted or any(fnmatchcase(media_type, each) for each in self._accepted)

    def part(self, value: Any) -> Json:
        """Return a part with a value; as plain text if only that is accepted."""
        found = value_part(value)
        if found["mediaType"] in self or "text/plain" not in self:
            return found
        return text_part(found["text"] if "text" in found else _as_text(found["data"]))


#: Accepts all.
EVERY = Modes()


def result(value: Any, modes: Modes = EVERY) -> Json | None:
    """Return the artifact with a flow's return value; None if it returned nothing."""
    if value is None:
        return None
    return {"artifactId": RESULT, "name": RESULT, "parts": [modes.part(value)]}


def results(values: Sequence[Any], modes: Modes = EVERY, *, is_cut: bool = False) -> Json:
    """Return the artifact with what a flow has said on the way: `tracer.result`, `yield` and so.

    It says so if there is more than is shown.
    """
    parts = [modes.part(each) for each in values]
    found: Json = {"artifactId": RESULTS, "name": RESULTS, "parts": parts}
    return found | ({"metadata": {"truncated": True}} if is_cut else {})


def file(execution: Execution, found: File, url: str) -> Json:
    """Return the artifact of a file that a flow has made. Its URL takes the caller's key."""
    name = found.path.partition("/")[2]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    place = f"{url}/v1/executions/{execution.fid}/files/{quote(found.path)}"
    about = {"sha256": found.sha256, "sizeBytes": found.size_bytes}
    part = {"url": place, "filename": name, "mediaType": kind, "metadata": about}
    return {"artifactId": f"file:{name}", "name": name, "parts": [part]}


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
