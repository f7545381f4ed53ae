"""One S3 server for the tests of a module, and its variables in their environment."""

from collections.abc import Iterator

import pytest

from tests.support import object_storage
from tests.support.object_storage import Storage


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with object_storage.serving(tmp_path_factory.mktemp("s3")) as storage:
        yield storage


@pytest.fixture
def storage(server: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The server, without faults, as an operator names it."""
    server.wire.mend()
    server.wire.requests.clear()
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    yield server
    server.wire.mend()
