"""`koco export`: a folder for each execution, complete or not there."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.errors import ConflictError, KocoError
from tests.support.api_server import Api, serving
from tests.unit.conftest import Cli, Use


@pytest.fixture
def api(tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A real API as the command line's context."""
    (tmp_path / "here").mkdir()
    with serving(tmp_path / "data") as api:
        use(api.url, "ada")
        monkeypatch.chdir(tmp_path / "here")
        yield api


def put(api: Api, fid: str, path: str, data: bytes) -> None:
    sha256 = api.upload(data)
    with api.http() as client:
        body = {"sha256": sha256, "size_bytes": len(data)}
        answer = client.put(f"/v1/executions/{fid}/files/{path}", json=body)
    assert answer.status_code in (200, 201), answer.text


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_writes_all_of_several(api: Api, cli: Cli, tmp_path: Path) -> None:
    """Each into a folder of its fid; the output names them."""
    one, two = api.execution(), api.execution()
    put(api, one, "in/a/b.txt", b"content")
    with api.http() as client:
        client.post(f"/v1/executions/{one}/cancel")
    ran = cli("export", one, two, one[:12], "--to", "exports")
    assert (ran.code, ran.out) == (0, f"exports/{one}\nexports/{two}\n"), ran.err
    folder = tmp_path / "here/exports" / one
    assert names(folder) == [
        *("events.ndjson", "execution.json", "files/in/a/b.txt", "inputs.json", "result.json")
    ]
    assert (folder / "files/in/a/b.txt").read_bytes() == b"content"
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text().splitlines()]
    assert [each["seq"] for each in events] == list(range(1, len(events) + 1))
    assert events[-1]["payload"] == {"status": "cancelled"}
    assert json.loads((folder / "result.json").read_text())["status"] == "cancelled"
    assert names(folder.parent / two) == ["events.ndjson", "execution.json", "inputs.json"]


def test_a_second_run_leaves_what_is_right(api: Api, cli: Cli, tmp_path: Path) -> None:
    """What has gone on since is replaced as a whole."""
    one, two = api.execution(), api.execution()
    cli("export", one, two)
    for fid in (one, two):
        (tmp_path / "here" / fid / "note.txt").write_text("mine")
    with api.http() as client:
        client.post(f"/v1/executions/{two}/cancel")
    ran = cli("export", one, two, "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [(each["fid"], each["new"]) for each in told] == [(one, False), (two, True)]
    assert (tmp_path / "here" / one / "note.txt").exists()
    assert not (tmp_path / "here" / two / "note.txt").exists()
    assert (tmp_path / "here" / two / "result.json").exists()
    assert json.loads(cli("export", one, "--force", "--json").out)["new"] is True


def test_never_touches_a_folder_that_is_no_export(api: Api, cli: Cli, tmp_path: Path) -> None:
    """Not even if it is forced."""
    fid = api.execution()
    (tmp_path / "here" / fid).mkdir()
    (tmp_path / "here" / fid / "thesis.txt").write_text("mine")
    for more in ((), ("--force",)):
        assert cli("export", fid, *more).code == ConflictError.exit_code
    assert [each.name for each in (tmp_path / "here" / fid).iterdir()] == ["thesis.txt"]


def test_nothing_is_written_if_one_is_missing(api: Api, cli: Cli, tmp_path: Path) -> None:
    """They are looked up first."""
    assert cli("export", api.execution(), "missing").code == 4
    assert not [*(tmp_path / "here").iterdir()]


def test_an_interruption_leaves_the_former_export(
    api: Api, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no part of the new one."""
    fid = api.execution()
    put(api, fid, "in/a.txt", b"content")
    assert cli("export", fid).code == 0
    before = names(tmp_path / "here")

    def broken(*_: Any, **__: Any) -> None:
        raise KocoError("the connection broke")

    monkeypatch.setattr("koco.client.files.Files.fetch", broken)
    assert cli("export", fid, "--force").code == 1
    assert names(tmp_path / "here") == before


@pytest.mark.parametrize("name", ["out/../../evil", "/tmp/evil", "../evil", "out/%2e%2e/evil"])
def test_a_hostile_name_stays_in_the_folder(
    api: Api, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is refused, and nothing is left."""
    fid = api.execution()
    file = {"path": name, "sha256": hashlib.sha256(b"").hexdigest(), "size_bytes": 0}
    monkeypatch.setattr("koco.client.files.Files.ls", lambda *_: [file])
    ran = cli("export", fid)
    assert ran.code == 2
    assert not [*(tmp_path / "here").iterdir()]
    assert not [*tmp_path.rglob("evil*")]
