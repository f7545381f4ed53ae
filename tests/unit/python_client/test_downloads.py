"""`execution.files` against the real API."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco import AsyncClient, Client
from koco.errors import ConflictError, UsageError
from tests.support import whole_api
from tests.support.api_server import Api, serving
from tests.support.played_flows import Stage, play


async def flow(stage: Stage) -> Any:
    await stage.make_file("a.txt", b"alpha")
    await stage.make_file("charts/b.txt", b"beta")
    return "done"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path / "data") as api:
        api.call(whole_api.complete(api))
        play(api, {"flow": flow})
        yield api


@pytest.fixture
def execution(api: Api) -> Iterator[Any]:
    with Client(url=api.url, key="ada") as client:
        made = client.run("svc/flow")
        assert made.result(timeout=60) == "done"
        yield made


def test_a_folder_is_downloaded_with_all_in_it(execution: Any, tmp_path: Path) -> None:
    """Under its own name, as `koco files get` does; a file into a folder or to a name."""
    to = tmp_path / "to"
    assert execution.files.download("out", to) == to / "out"
    assert (to / "out" / "a.txt").read_bytes() == b"alpha"
    assert (to / "out" / "charts" / "b.txt").read_bytes() == b"beta"
    assert execution.files.download("out/charts", to) == to / "charts"
    assert (to / "charts" / "b.txt").read_bytes() == b"beta"
    assert execution.files.download("out/a.txt", to) == to / "a.txt"
    assert execution.files.download("out/a.txt", to / "other") == to / "other"
    with pytest.raises(UsageError, match="out is a folder"):
        execution.files.read("out")


def test_a_link_does_not_lead_a_download_elsewhere(execution: Any, tmp_path: Path) -> None:
    """Local folders may be somebody else's, and names of files are a flow's."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConflictError, match="is outside of"):
        execution.files.download("out", tmp_path / "to")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_so_does_the_async_client(api: Api, execution: Any, tmp_path: Path) -> None:
    async def work() -> Path:
        async with AsyncClient(url=api.url, key="ada") as client:
            found = await client.execution(execution.fid)
            return await found.files.download("out", tmp_path)

    assert (asyncio.run(work()) / "a.txt").read_bytes() == b"alpha"
