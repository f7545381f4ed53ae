"""How large what services bring may be: their forms, and their executions' events."""

from typing import TYPE_CHECKING, Any

import msgspec

from koco.control.settings import Settings
from koco.events import line
from koco.events.model import Batch
from koco.store.model import KB

if TYPE_CHECKING:
    from koco.control.checks import Finding
    from koco.control.parts import Parts


async def check_forms(parts: "Parts", manifest: dict[str, Any]) -> "list[Finding]":
    """Return which of a manifest's forms are larger than the setting `max_form_kb`."""
    most_kb = parts.settings.max_form_kb
    found: list[Finding] = []
    for number, flow in enumerate(manifest["flows"]):
        size_kb = len(msgspec.json.encode(flow.get("inputs") or [])) / KB
        if size_kb > most_kb:
            said = f"the form has {size_kb:.0f} kB; this control plane's max_form_kb is {most_kb:g}"
            hint = "long choices can be a file, or a text that the flow checks"
            found.append({"message": said, "hint": hint, "path": ["flows", number, "inputs"]})
    return found


def fitting(batch: Batch, settings: Settings) -> Batch:
    """Return a batch in which no payload is larger than the setting `max_event_kb`."""
    most_bytes = int(settings.max_event_kb * KB)
    if len(batch.body) <= most_bytes:
        return batch
    lines = [line.fitting(text, most_bytes) for text in batch.body.split(b"\n")]
    return msgspec.structs.replace(batch, body=b"\n".join(lines))
