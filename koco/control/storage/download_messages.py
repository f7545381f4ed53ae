"""The messages between the control plane and the process that fetches a URL."""

import msgspec


class Order(msgspec.Struct, frozen=True):
    """The URL to fetch, and the most bytes that its file may have."""

    url: str
    most_bytes: float


class Result(msgspec.Struct, frozen=True):
    """The name of the fetched file; or why it could not be fetched."""

    name: str = ""
    error: str = ""
