"""Small functions that services written for Kodosumi import."""

import time
from typing import Any

from koco.events import line
from koco.kodosumi.payloads import wrapped


def now() -> float:
    """Return the time, in seconds since the epoch."""
    return time.time()


def serialize(data: Any) -> str:
    """Return a value as JSON text in Kodosumi's shape: an object with its class's name.

    A text is `{"str": …}`, a list `{"__list__": […]}`, a value without fields `{"TypeError": …}`.
    """
    return line.encode_payload(wrapped(data)).decode()
