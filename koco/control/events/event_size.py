"""Cuts events that are larger than the setting allows."""

import msgspec

from koco.control.settings import Settings
from koco.events import line
from koco.events.wire import Batch
from koco.sizes import KB


def fitting(batch: Batch, settings: Settings) -> Batch:
    """Return a batch in which no payload is larger than the setting `max_event_kb`."""
    most_bytes = int(settings.max_event_kb * KB)
    if len(batch.body) <= most_bytes:
        return batch
    lines = [line.limit_payload(text, most_bytes) for text in batch.body.split(b"\n")]
    return msgspec.structs.replace(batch, body=b"\n".join(lines))
