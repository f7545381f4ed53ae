"""What is no longer kept goes, by the settings and by the manifest."""

from typing import Any

import httpx
import pytest

from tests.support.driver import Koco, eventually

#: Short enough for a test, in days: a second.
_SECOND = 1 / 86_400

CODE = """
    import koco

    async def note(tracer: koco.Tracer):
        with open("note.txt", "w") as file:
            file.write("kept?")
        async with await tracer.fs() as fs:
            await fs.upload("note.txt")
        return "done"

    async def ask(tracer: koco.Tracer):
        return await tracer.lock("sure")
"""


@pytest.fixture
def app(fresh: Koco) -> Koco:
    fresh.up()
    flows: list[dict[str, Any]] = [
        {"name": "usual", "entrypoint": "notes_app:note"},
        {"name": "brief", "entrypoint": "notes_app:note", "keep": "1s"},
        {"name": "lasting", "entrypoint": "notes_app:note", "keep": "forever"},
        {"name": "open", "entrypoint": "notes_app:ask", "keep": "1s"},
    ]
    return fresh.deploy("notes", CODE, flows=flows, locks={"sure": []})


def test_what_is_no_longer_kept_goes(app: Koco) -> None:
    """The first look is a minute after the start, and the later ones ten minutes apart."""
    usual, brief, lasting = (app.execute(name).fid for name in ("usual", "brief", "lasting"))
    waiting = app.launch("open")
    eventually(lambda: app.get(f"/v1/executions/{waiting}")["status"] == "awaiting")
    assert _files(app, lasting) == ["note.txt"]
    assert any(each["action"] == "launch" for each in _audit(app))

    # Executions for an hour, files and the audit log for a second.
    app.run(
        *("config", "set", f"keep_executions_days={1 / 24}"),
        *(f"keep_files_days={_SECOND}", f"keep_audit_days={_SECOND}"),
    ).ok()
    [entry] = eventually(lambda: _retention(app), within_s=120)

    assert (entry["who"], entry["detail"]["executions"]) == ("koco", 1)
    assert entry["detail"]["files_of"] == 2 and entry["detail"]["audit"] > 0
    assert _status(app, brief) == 404
    for fid in (usual, lasting):  # only their files are gone
        shown = app.get(f"/v1/executions/{fid}")
        assert (shown["status"], _files(app, fid)) == ("finished", [])
        assert app.get_events(fid)[-1]["payload"] == {"status": "finished"}
    assert app.get(f"/v1/executions/{waiting}")["status"] == "awaiting"
    assert not any(each["action"] == "launch" for each in _audit(app))
    logged = app.run("logs", "--control", "--json").ok().lines()
    assert any("removed what is no longer kept" in each["message"] for each in logged)


def _files(app: Koco, fid: str) -> list[str]:
    return [
        each["path"].partition("/")[2] for each in app.get(f"/v1/executions/{fid}/files")["items"]
    ]


def _audit(app: Koco) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = app.get("/v1/audit", limit=100)["items"]
    return items


def _retention(app: Koco) -> list[dict[str, Any]]:
    return [each for each in _audit(app) if each["action"] == "retention"]


def _status(app: Koco, fid: str) -> int:
    with app.http() as client:
        answer: httpx.Response = client.get(f"/v1/executions/{fid}")
    return answer.status_code
