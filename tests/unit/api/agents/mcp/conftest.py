"""A service with one flow of each sort, and clients of MCP in both eras."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api_server import Api, serving
from tests.support.mcp_client import McpClient
from tests.support.mcp_flows import give_flows


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        give_flows(api)
        api.admit("reader", "read")
        api.admit("narrow", "launch", flows=("svc/greet",))
        api.admit("boss", "admin")
        yield api


@pytest.fixture(params=["2026-07-28", "2025-11-25"])
def either(api: Api, request: Any) -> Iterator[McpClient]:
    """A client of each era."""
    with McpClient(api.url, version=request.param) as client:
        yield client


@pytest.fixture
def client(api: Api) -> Iterator[McpClient]:
    """A client of revision 2026-07-28."""
    with McpClient(api.url) as client:
        yield client
