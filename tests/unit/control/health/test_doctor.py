"""What the control plane's doctor finds: over a real store, with runners in this process."""

import asyncio
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster import placement
from koco.cluster.placement import ClusterState
from koco.cluster.ray_work import Item
from koco.cluster.serve import name_of
from koco.control.executions.leftovers import Leftovers
from koco.control.health import doctor
from koco.control.health.doctor import Doctor, Finding
from koco.control.leadership import Leadership
from koco.control.start import Start
from koco.control.storage.blob_stores.directory import Directory
from koco.control.storage.disk import Disk
from koco.errors import KocoError
from koco.events.questions import EndWork
from koco.manifest.descriptions import AppHandlers
from koco.runner.spec import ImportFailure
from koco.store.webhook_model import Webhook
from tests.support import small_disk
from tests.support.pools import World, world
from tests.support.releases import manifest

NODE = placement.Node(id="ab", address="10.0.0.1", is_alive=True, resources={"CPU": 2})
CLUSTER = ClusterState(version="2.60.0", python="3.11.9", auth="token", restarts=0, nodes=[NODE])


def parts(w: World, **more: Any) -> Any:
    """Return what a doctor looks at, all of it well."""

    async def describe() -> ClusterState:
        return CLUSTER

    async def work() -> list[Item]:
        return []

    async def nodes() -> list[placement.Node]:
        return [NODE]

    data_dir = Path(w.store.engine.location).parent
    kept = Directory(data_dir / "blobs")
    found = {
        "store": w.store,
        "files": SimpleNamespace(blobs=SimpleNamespace(kept=kept)),
        "disk": Disk(Path(w.store.engine.location).parent, w.settings, w.store.engine),
        "spooler": w.spooler,
        "supervisor": w.supervisor,
        "deployer": SimpleNamespace(troubles={}),
        "leadership": Leadership(),
        "cluster": SimpleNamespace(describe=describe, nodes=nodes, work=work),
        "send": w.spooler.append,
        "heartbeat_s": 10.0,
        "data_dir": data_dir,
        "start": Start(data_dir=str(data_dir), port=8400, url=""),
        "started": "2026-01-31T00:00:00.000000Z",
    }
    found |= more
    found["leftovers"] = Leftovers(found["supervisor"], getattr(found["cluster"], "work", work))
    return SimpleNamespace(**found)


async def findings(of: Any, *, look_s: float = 5.0) -> dict[str, Finding]:
    return {each.name: each for each in await Doctor(of, look_s=look_s).findings()}


async def ready(w: World) -> None:
    """Deploy something that has a runner."""
    w.importing.set()
    await w.live()
    while not any(pool.runners for pool in w.supervisor.pools.values()):
        await asyncio.sleep(0.002)


def test_findings_without_problems_have_no_hint(tmp_path: Path) -> None:
    """Each part has one. The proof of events has left nothing behind."""

    async def body(w: World) -> None:
        await ready(w)
        found = await findings(parts(w))
        wrong = [each for each in found.values() if each.status != "ok" and each.name != "disk"]
        assert wrong == []
        assert found["events"].message.startswith("one arrived after ")
        assert found["runners"].message == "1 answers"
        assert "; bundles and files take 0 B" in found["disk"].message
        assert (await w.store.executions.page()).items == []
        assert not any((await w.store.executions.count_by_status()).values())

    world(tmp_path, body)


def test_finds_events_that_do_not_arrive_within_the_deadline(tmp_path: Path) -> None:
    """If calls hang, and if they are answered but nothing is kept."""

    async def body(w: World) -> None:
        async def hangs(blob: bytes) -> bytes:
            await asyncio.sleep(60)
            return blob

        async def lies(blob: bytes) -> bytes:
            kept = await w.spooler.append(blob)
            return kept.replace(b"\x01", b"\x00", 1)

        found = await findings(parts(w, send=hangs), look_s=0.1)
        assert (found["events"].status, found["store"].status) == ("failed", "ok")
        assert "within 0.1 s" in found["events"].message
        assert (await findings(parts(w, send=lies)))["events"].status == "failed"

    world(tmp_path, body)


def test_an_endpoint_that_comes_up_is_a_warning(tmp_path: Path) -> None:
    """So `koco up && koco doctor` reports only real problems."""

    async def body(w: World) -> None:
        what: dict[str, Any] = {"manifest": manifest(), "bundle": "b", "by": ""}
        made = await w.store.releases.create("svc", fingerprint="f", **what)
        await w.store.releases.go_live("svc", made.number, [], app=AppHandlers())
        for status, verdict in (("DEPLOYING", "warning"), ("RUNNING", "ok"), ("GONE", "failed")):

            async def statuses(now: str = status) -> dict[str, str]:
                return {name_of("svc", made.number): now}

            async def look() -> dict[str, str]:
                return {}

            serve = SimpleNamespace(serve=SimpleNamespace(statuses=statuses))
            deployer = SimpleNamespace(troubles={}, drift=SimpleNamespace(look=look))
            found = await findings(parts(w, endpoints=serve, deployer=deployer))
            assert found["serve"].status == verdict

    world(tmp_path, body)


def test_a_late_event_loop_is_not_a_failed_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy process is reported as late, not as unable to store anything."""
    monkeypatch.setattr(doctor, "_HEALTH_S", 0.1)
    monkeypatch.setattr(doctor, "_FRESH_S", 0.0)

    async def body(w: World) -> None:
        async def hog() -> None:
            for _ in range(4):
                await asyncio.sleep(0)
                time.sleep(0.2)  # noqa: ASYNC251 - as thousands of requests would

        async def describe() -> ClusterState:
            hogging.append(asyncio.create_task(hog()))  # while the store is asked
            return await well.cluster.describe()

        async def hangs() -> int:
            await asyncio.Event().wait()
            return 0

        hogging: list[asyncio.Task[None]] = []
        well = parts(w)
        cluster = SimpleNamespace(**{**vars(well.cluster), "describe": describe})
        health = await Doctor(parts(w, cluster=cluster)).health()
        assert health.store == "ok"
        assert health.late_ms >= 80
        assert health.status == "degraded", "nothing is well in a process that late"
        health = await Doctor(parts(w)).health()
        assert (health.status, health.store) == ("ok", "ok")
        monkeypatch.setattr(w.store.engine, "probe", hangs)
        assert (await Doctor(parts(w)).health()).store == "failed"

    world(tmp_path, body)


def test_a_full_store_fails_doctor_and_health(tmp_path: Path) -> None:
    """The doctor says what to do; `/health` says that executions cannot run."""

    async def body(w: World) -> None:
        w.store.engine._db.execute("PRAGMA query_only = 1")  # as a disk that has become read-only
        of = parts(w)
        found = await findings(of)
        assert (found["store"].status, found["events"].status) == ("failed", "failed")
        assert "disk has room" in (found["store"].hint or "")
        health = await Doctor(of).health()
        assert (health.status, health.store) == ("degraded", "failed")
        w.store.engine._db.execute("PRAGMA query_only = 0")
        assert (await Doctor(of).health()).status == "ok"

    world(tmp_path, body)


def test_names_services_without_runners_only_to_callers_with_a_key(tmp_path: Path) -> None:
    """`/health`, which is public, has only their number."""

    async def body(w: World) -> None:
        w.problem = ImportFailure(entrypoint="m:f", message="no module named secret")
        await w.live()
        of = parts(w)
        while not any(pool.trouble for pool in w.supervisor.pools.values()):
            await asyncio.sleep(0.002)
        found = await findings(of)
        assert found["service svc"].status == "failed"
        assert "no module named secret" in found["service svc"].message
        health = await Doctor(of).health()
        assert (health.status, health.troubles) == ("degraded", 1)
        assert health.nodes == doctor.NodeCounts(alive=1, dead=0)
        assert "secret" not in str(health)
        assert "svc" not in str(health)

    world(tmp_path, body)


def test_names_a_runner_that_does_not_answer(tmp_path: Path) -> None:
    """The others answer, and the doctor continues."""

    async def body(w: World) -> None:
        await ready(w)

        async def attach() -> Any:
            raise KocoError("out of reach")

        w.runners[0].attach = attach  # type: ignore[method-assign]
        found = await findings(parts(w))
        assert found["runners"].status == "warning"
        assert w.runners[0].spec.id in found["runners"].message

    world(tmp_path, body)


def test_reports_nodes_that_died_but_not_those_that_left(tmp_path: Path) -> None:
    """Ray lists both as long as it runs."""

    async def body(w: World) -> None:
        async def describe() -> ClusterState:
            gone = placement.Node(id="cd", address="10.0.0.2", is_alive=False, resources={})
            died = replace(gone, death="its raylet was killed")
            return replace(CLUSTER, auth="disabled", restarts=4, nodes=[NODE, gone, died])

        found = await findings(parts(w, cluster=SimpleNamespace(describe=describe)))
        assert found["node"].message == "10.0.0.2 is dead: its raylet was killed"
        assert found["nodes"].message.startswith("1 alive: 2 CPU")
        assert "RAY_AUTH_MODE=token" in (found["ray"].hint or "")
        assert "control.log" in (found["control plane"].hint or "")

    world(tmp_path, body)


def test_an_error_in_a_check_is_a_finding(tmp_path: Path) -> None:
    """The check has failed, and the others still run."""

    async def body(w: World) -> None:
        found = await findings(parts(w, deployer=None))
        assert found["services"].status == "failed"
        assert "the check failed" in found["services"].message
        assert found["events"].status == "ok"

    world(tmp_path, body)


def test_names_the_executions_of_leftover_tasks(tmp_path: Path) -> None:
    """With the fid if known: what stays on purpose, and what could not be ended."""
    actor = Item("a1", "actor", "Cache", "svc", 1, ("t1",), 41, "node", is_detached=True)
    task = Item("t2", "task", "count", "svc", 1, ("t2", "t0"), 42, "node")

    async def work() -> list[Item]:
        return [actor, task]

    async def body(w: World) -> None:
        of = parts(w, cluster=SimpleNamespace(work=work))
        rest = EndWork(tasks=["t1"], actors=[], kept=[])
        await of.leftovers.settle("fid-of-the-actor", rest)
        left = await of.leftovers.look()
        assert [(each.name, each.fid) for each in left] == [
            ("Cache", "fid-of-the-actor"),
            ("count", None),
        ]

    world(tmp_path, body)


def test_says_what_to_do_about_a_full_disk(tmp_path: Path) -> None:
    """In the doctor and in `/health`, until there is room again."""

    async def body(w: World) -> None:
        await ready(w)
        of = parts(w)
        (tmp_path / "theirs").write_bytes(b"x" * small_disk.MB)
        with small_disk.told(tmp_path, 1):
            of.disk._seen_at = -math.inf
            found = (await findings(of))["disk"]
            assert found.status == "failed"
            assert "events wait" in found.message
            assert "`koco cancel`" in (found.hint or "")
            assert (await Doctor(of).health()).status == "degraded"
        of.disk._seen_at = -math.inf
        assert (await findings(of))["disk"].status != "failed"
        assert (await Doctor(of).health()).status == "ok"

    world(tmp_path, body)


def test_tells_of_dead_webhooks_without_their_names(tmp_path: Path) -> None:
    """Those that are disabled, and those that have taken nothing for long."""

    async def body(w: World) -> None:
        await ready(w)
        assert (await findings(parts(w)))["webhooks"].message == "0 messages wait to be sent"
        changes: tuple[dict[str, Any], ...] = (
            {"disabled": "2026"},
            {"failures": 5},
            {"failures": 4},
        )
        for number, change in enumerate(changes):
            name = f"hook{number}"
            webhook = Webhook(id=name, name=name, url="https://example.com/", by="ada")
            await w.store.webhooks.add(webhook)
            await w.store.webhooks.change(name, change)
        found = [each for each in await Doctor(parts(w)).findings() if each.name == "webhooks"]
        assert [each.status for each in found] == ["warning", "warning"]
        assert [each.message for each in found] == [
            "1 webhook is disabled: nothing is sent there",
            "1 webhook takes no messages: 5 attempts or more have failed",
        ]

    world(tmp_path, body)
