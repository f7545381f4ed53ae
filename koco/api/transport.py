"""What lies between a client and the API: proxies, and what the way of a request says."""

from collections.abc import Mapping
from typing import Any


def address(scope: Mapping[str, Any]) -> str:
    """Return the client's address; where a trusted proxy has sent the request, what that says."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_secure(scope: Mapping[str, Any]) -> bool:
    """Say whether the client speaks TLS, with this server or with a trusted proxy."""
    return bool(scope.get("scheme") == "https")
