"""The value of a file field as Kodosumi's clients send it: JSON text that names their uploads."""

from typing import Any

import msgspec

from koco.api.http import json_text


class Item(msgspec.Struct, frozen=True):
    """An upload: the name of its file and the number of its chunks."""

    filename: str
    total_chunks: int = msgspec.field(name="totalChunks", default=-1)


class Uploaded(msgspec.Struct, frozen=True):
    """The uploads of one field by their ids, and the batch that they belong to."""

    items: dict[str, Item]
    batch_id: str = msgspec.field(name="batchId", default="")


def read(value: Any, *, most_values: int) -> Uploaded | None:
    """Return the uploads that a value names, or None if it names none in this way.

    Raises:
        LimitError: it has more than `most_values`, or is too large.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            found: Uploaded = json_text.decode(value, most_values=most_values, kind=Uploaded)
        except ValueError:
            return None
        return found
    return None
