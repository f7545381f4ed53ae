"""Deploys that come at once, over a real store, with runners that live in this process."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.control.deploy import rollout
from koco.control.deploy.deployer import Deployer
from koco.control.deploy.serve_apps import Applications
from koco.control.executions.launcher import Launches
from koco.control.runners import start_backoff
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.settings import Settings
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.events.model import Status
from koco.manifest.model import Limits
from koco.runner.spec import ImportFailure
from koco.store.model import (
    AuditQuery,
    NewExecution,
    Release,
    ReleaseFailure,
    ReleaseOrigin,
)
from tests.support.pools import World as Pools
from tests.support.pools import eventually
from tests.support.pools import world as pools_world
from tests.support.releases import manifest, upload

MANIFEST = manifest(
    service="svc",
    flows=[{"name": "flow", "entrypoint": "m:f"}],
    runner={"min": 1, "max": 3, "idle_timeout": 300, "concurrency": 1, "executions": None},
)

PROBLEM = ImportFailure(flow="flow", entrypoint="m:f", type="ValueError", message="at import")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners need not outlive their imports for long here."""
    monkeypatch.setattr(rollout, "_OUTLIVE_S", 0.0)


class World(Pools):
    """A deployer and what it needs, over one store; no service has an app here."""

    def begin(self, data_dir: Path) -> "World":
        """Begin, or begin anew over the same store, as a restarted control plane does."""
        self.restart()
        self.settings = Settings()
        self.blobs = Blobs(
            data_dir, self.store, self.settings, Disk(data_dir, self.settings, self.store.engine)
        )
        self.bundles = Bundles(self.blobs, self.store, secret=b"s", url="http://x")
        self.catalog = Catalog()
        serve: Any = SimpleNamespace(messages={})
        applications = Applications(
            serve, self.store, supervisor=self.supervisor, catalog=self.catalog, make=serve
        )
        self.deployer = Deployer(
            self.store,
            self.supervisor,
            self.catalog,
            bundles=self.bundles,
            applications=applications,
        )
        return self

    async def upload(self, content: str) -> str:
        """Bring a bundle; return its hash."""
        return await upload(self.bundles, content.encode())

    async def deploy(self, content: str, **more: Any) -> tuple[Release, bool]:
        """Deploy a bundle of this content; do not wait."""
        return await self.deployer.deploy(
            MANIFEST, bundle=await self.upload(content), by="ada", **more
        )

    async def live(self, content: str = "one", **more: Any) -> Release:
        """Deploy a bundle, and wait for what becomes of it."""
        release, _ = await self.deploy(content, **more)
        return await self.deployer.wait("svc", release.number, seconds=10)

    async def number(self) -> int | None:
        """Return what is live now."""
        live = await self.store.releases.live("svc")
        return live.number if live else None


def world(tmp_path: Path, body: Callable[[World], Awaitable[None]]) -> None:
    async def begun(pools: Pools) -> None:
        await body(World(pools.store).begin(tmp_path))

    pools_world(tmp_path, begun)


def test_equal_deploys_at_the_same_time_make_one_release(tmp_path: Path) -> None:
    """None of them fails, and nothing is started twice."""

    async def body(w: World) -> None:
        await w.upload("one")
        made = await asyncio.gather(*(w.deploy("one") for _ in range(5)))
        assert {release.number for release, _ in made} == {1}
        ready = await w.deployer.wait("svc", 1, seconds=10)
        assert ready.status == "live"
        assert (await w.deploy("one"))[1], "unchanged"

    world(tmp_path, body)


def test_deploying_the_live_code_while_another_release_starts_makes_a_release(
    tmp_path: Path,
) -> None:
    """The last deploy wins, so the live one has to come after the other."""

    async def body(w: World) -> None:
        await w.live("one")
        w.importing.clear()
        await w.deploy("two")
        back, unchanged = await w.deploy("one")
        assert (back.number, unchanged) == (3, False)
        assert (await w.deployer.target("svc", None)).number == 1, "back from what is coming"
        w.importing.set()
        assert (await w.deployer.wait("svc", 3, seconds=10)).status == "live"
        assert await w.number() == 3

    world(tmp_path, body)


def test_undeploys_only_the_release_that_the_caller_saw(tmp_path: Path) -> None:
    """Somebody may have deployed while a user was asked to confirm."""

    async def body(w: World) -> None:
        assert await w.deployer.replaced("svc") == 0
        await w.live("one")
        seen = await w.deployer.replaced("svc")
        w.importing.clear()
        await w.deploy("two")
        with pytest.raises(ConflictError, match="changed meanwhile: it has release 2 by ada"):
            await w.deployer.undeploy("svc", by="bob", expect=seen)
        assert await w.number() == 1
        expect = await w.deployer.replaced("svc")
        ended = await w.deployer.undeploy("svc", by="bob", expect=expect)
        assert [release.number for release in ended] == [1, 2]
        w.importing.set()

    world(tmp_path, body)


def test_a_runner_that_dies_right_after_its_imports_fails_the_release(tmp_path: Path) -> None:
    """It must answer once more. The cause is shown, and no runner is left."""

    async def body(w: World) -> None:
        await w.live("one")
        w.dies_after_imports = True
        failed = await w.live("two")
        assert failed.status == "failed"
        assert "or right after" in str(failed.error)
        assert await w.number() == 1
        w.dies_after_imports = False
        await eventually(w.runners[-1].over.done)

    world(tmp_path, body)


async def killed(w: World, count: int) -> None:
    """Kill the newest runner of a pool so many times, as soon as there is one."""
    for _ in range(count):
        runner = await alive(w)
        runner.die("signal 11")


async def alive(w: World) -> Any:
    number = await w.number()

    def found() -> bool:
        pool = w.supervisor.pools.get(("svc", number or 0))
        return pool is not None and any(not r.actor.over.done() for r in pool.runners.values())

    await eventually(found)
    pool = w.supervisor.pools["svc", number or 0]
    return next(r.actor for r in pool.runners.values() if not r.actor.over.done())


def test_a_release_whose_runners_keep_dying_is_rolled_back(tmp_path: Path) -> None:
    """Once: recorded in its row and in the audit log, also for waiting executions."""

    async def body(w: World) -> None:
        await w.live("one", origin=ReleaseOrigin(commit="abc"))
        await w.live("two")
        await killed(w, 2)
        await eventually(lambda: w.catalog.release("svc").number == 3)
        back, broken = await w.store.releases.get("svc", 3), await w.store.releases.get("svc", 2)
        assert (back.by, back.origin.rollback_of) == ("koco", 1)
        assert back.origin.because == "release 2 is broken"
        assert broken.status == "failed"
        assert "signal 11; koco rolls back to release 1" in str(broken.error)
        noted = (await w.store.audit.page(AuditQuery(target="svc"))).items
        assert [(e.action, e.who, e.target, e.detail["release"]) for e in noted] == [
            ("go_back", "koco", "svc/2", 1)
        ]
        await killed(w, 3)
        await eventually(lambda: "no other release" in w.deployer.troubles.get("svc", ""))
        await asyncio.sleep(0.05)
        assert await w.number() == 3, "not to and fro"
        assert (await w.deployer.former("svc") or back).number == 1, "never to the broken one"

    world(tmp_path, body)


def test_a_release_that_has_finished_an_execution_stays(tmp_path: Path) -> None:
    """So does one that lost a single runner, which may have any reason."""

    async def body(w: World) -> None:
        await w.live("one")
        await w.live("two")
        await killed(w, 1)
        await alive(w)
        await w.until((await w.launch()).fid, Status.FINISHED)
        await killed(w, 3)
        await asyncio.sleep(0.05)
        assert (await w.number(), w.deployer.troubles) == (2, {})

    world(tmp_path, body)


def test_an_execution_that_kills_its_runners_counts_once(tmp_path: Path) -> None:
    """However often it is resumed. Three that do so mean that the release is broken."""

    async def body(w: World) -> None:
        durable = {"name": "flow", "entrypoint": "m:f", "durable": True}
        resuming = manifest(service="svc", flows=[durable], runner={"concurrency": 4})
        await w.live("one")
        release, _ = await w.deployer.deploy(resuming, bundle=await w.upload("two"), by="ada")
        await w.deployer.wait("svc", release.number, seconds=10)
        w.ends = False
        for number in range(3):
            assert await w.number() == 2
            fid = (await w.launch()).fid
            for death in range(1, 5):
                await w.until(fid, Status.RUNNING)
                w.runner_of(fid).die("signal 11")
                await w.until_resumed(fid, death)
            await w.until(fid, Status.RUNNING)
            if number < 2:
                await w.supervisor.cancel(fid, grace_s=0)
                await w.until(fid, Status.CANCELLED)
        await eventually(lambda: w.catalog.release("svc").number == 3)

    world(tmp_path, body)


def test_an_automatic_rollback_continues_after_a_restart(tmp_path: Path) -> None:
    """The control plane may die right after marking the release as broken."""

    async def body(w: World) -> None:
        await w.live("one")
        await w.live("two")
        await w.store.releases.mark_broken("svc", 2, ReleaseFailure(message="they die"))
        w.begin(tmp_path)
        await w.supervisor.recover({})
        await w.deployer.recover()
        assert "they die" in w.deployer.troubles["svc"]
        await eventually(lambda: w.catalog.release("svc").number == 3)
        assert (await w.store.releases.get("svc", 2)).status == "failed"

    world(tmp_path, body)


@pytest.mark.parametrize("restarts", [False, True])
def test_executions_waiting_for_a_broken_release_move_to_the_next(
    tmp_path: Path, restarts: bool
) -> None:
    """If it has the flow. Their streams say so; a restart changes nothing."""

    async def body(w: World) -> None:
        await w.live("one")
        pool = w.supervisor.pools["svc", 1]
        w.problem = PROBLEM  # from now on no runner starts
        await killed(w, 1)
        await eventually(lambda: pool.trouble is not None)
        fids = [(await w.launch()).fid for _ in range(3)]
        if restarts:
            w.begin(tmp_path)
            await w.supervisor.recover({})
            await w.deployer.recover()
        w.works.add(2)
        await w.live("two")
        for fid in fids:
            await w.until(fid, Status.FINISHED)
            execution = await w.store.executions.get(fid)
            assert execution.release == 2
            chunks = await w.store.events.after(execution.id, 0, budget_bytes=1 << 20)
            body = b"\n".join(chunk.body for chunk in chunks)
            assert b'{"status":"queued","release":2}' in body

    world(tmp_path, body)


def test_executions_that_nothing_can_run_end_with_the_cause(tmp_path: Path) -> None:
    """Their release does not start and the service is undeployed."""

    async def body(w: World) -> None:
        await w.live("one")
        w.problem = PROBLEM
        await killed(w, 1)
        fid = (await w.launch()).fid
        await w.deployer.undeploy("svc", by="ada", running="drain")
        await w.until(fid, Status.ERROR)
        error = (await w.store.executions.get(fid)).error
        assert error is not None
        assert error.type == "ReleaseFailed"
        assert "at import; no release of svc serves" in error.message

    world(tmp_path, body)


def test_an_execution_that_has_begun_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its next attempt, although its release is retired and no runner starts."""
    monkeypatch.setattr(start_backoff, "_PAUSES_S", (0.02,))

    async def body(w: World) -> None:
        limits = {"retries": 2, "retry_errors": True, "backoff": 0.01}
        retrying = MANIFEST.model_copy(update={"limits": Limits.model_validate(limits)})
        release, _ = await w.deployer.deploy(retrying, bundle=await w.upload("one"), by="ada")
        await w.deployer.wait("svc", release.number, seconds=10)
        w.ends = False
        fid = (await w.launch()).fid
        await w.until(fid, Status.RUNNING)
        w.problem = PROBLEM
        await w.deployer.undeploy("svc", by="ada", running="drain")
        runner = w.runner_of(fid)
        await runner.report(fid, Status.ERROR)
        runner.die("signal 11")
        before = len(w.runners)
        await eventually(lambda: len(w.runners) >= before + 5)
        assert (await w.store.executions.get(fid)).status is Status.QUEUED
        w.problem, w.ends = None, True
        await w.until(fid, Status.FINISHED)

    world(tmp_path, body)


def test_a_failed_release_leaves_the_former_one(tmp_path: Path) -> None:
    """It never goes live. The former one serves, in the store and for launches."""

    async def body(w: World) -> None:
        await w.live("one")
        w.problem = PROBLEM
        failed = await w.live("two")
        assert (failed.status, failed.has_closed) == ("failed", False)
        assert failed.timings.keys() == {"upload", "environment", "import"}
        assert await w.number() == 1
        assert w.catalog.release("svc").number == 1

    world(tmp_path, body)


def test_without_a_fallback_a_failed_release_closes_the_service(tmp_path: Path) -> None:
    """Launches are refused with the reason, also after a restart, until one works."""

    async def body(w: World) -> None:
        await w.live("one")
        w.problem = PROBLEM
        failed = await w.live("two", fallback=False)
        assert failed.has_closed
        for _ in range(2):
            assert await w.number() is None
            with pytest.raises(ConflictError, match="release 2 failed, and the former one"):
                w.catalog.release("svc")
            with pytest.raises(ConflictError, match="'svc' serves"):
                w.catalog.find("svc/flow")
            assert "release 2 failed" in w.deployer.troubles["svc"]
            w.begin(tmp_path)
            await w.deployer.recover()
        w.problem = None
        assert (await w.live("three")).status == "live"
        assert w.catalog.release("svc").number == 3
        assert w.deployer.troubles == {}
        assert [each.number for each in await w.store.releases.present()] == [3]

    world(tmp_path, body)


def test_a_rollback_is_a_new_release_of_former_code(tmp_path: Path) -> None:
    """By number, or the last one that served. A second rollback goes forward again."""

    async def body(w: World) -> None:
        first = await w.live("one", origin=ReleaseOrigin(commit="abc", dirty=False))
        await w.live("two")
        w.problem = PROBLEM
        await w.live("broken")
        w.problem = None
        target = await w.deployer.target("svc", None)
        assert target.number == 1, "not the one that failed"
        begun, _ = await w.deployer.rollback(target, by="bob")
        back = await w.deployer.wait("svc", begun.number, seconds=10)
        assert (back.number, back.status, back.bundle) == (4, "live", first.bundle)
        assert back.origin == ReleaseOrigin(commit="abc", dirty=False, rollback_of=1)
        assert "upload" not in back.timings
        assert (await w.deployer.target("svc", None)).number == 2
        assert (await w.deployer.target("svc", 3)).status == "failed", "where it is asked for"

    world(tmp_path, body)


def test_a_repeated_rollback_returns_the_same_release(tmp_path: Path) -> None:
    """A client that was killed meanwhile finds it, and does not go forward again."""

    async def body(w: World) -> None:
        await w.live("one")
        await w.live("two")
        w.importing.clear()
        made = set()
        for _ in range(2):
            target = await w.deployer.target("svc", None)
            release, unchanged = await w.deployer.rollback(target, by="ada")
            made.add((target.number, release.number, unchanged))
        assert made == {(1, 3, False)}
        w.importing.set()
        await w.deployer.wait("svc", 3, seconds=10)
        assert await w.number() == 3

    world(tmp_path, body)


def test_a_rollback_applies_to_the_release_that_the_caller_saw(tmp_path: Path) -> None:
    """If somebody deploys meanwhile, theirs is not rolled back."""

    async def body(w: World) -> None:
        await w.live("one")
        await w.live("two")
        seen = await w.deployer.replaced("svc")
        target = await w.deployer.target("svc", None)
        await w.live("three")
        with pytest.raises(ConflictError, match="changed meanwhile: it has release 3"):
            await w.deployer.rollback(target, by="bob", expect=seen)
        assert await w.number() == 3

    world(tmp_path, body)


def test_an_execution_that_moved_to_a_replaced_release_runs(tmp_path: Path) -> None:
    """Its pool may be gone by then."""

    async def body(w: World) -> None:
        release = await w.live("one")
        fid = (await w.launch()).fid
        await w.until(fid, Status.FINISHED)
        await w.live("two")
        new = NewExecution(flow="svc/flow", service="svc", release=release.number, inputs={})
        execution, _ = await w.store.executions.create(new)
        await eventually(lambda: w.supervisor.pools["svc", 1].is_over)
        del w.supervisor.pools["svc", 1]
        await w.supervisor.hand_over(execution)
        await w.until(execution.fid, Status.FINISHED)

    world(tmp_path, body)


def test_an_impossible_rollback_says_why(tmp_path: Path) -> None:
    """No such release, the live one, nothing before it, or its bundle is gone."""

    async def body(w: World) -> None:
        first = await w.live("one", origin=ReleaseOrigin(commit="abcdef"))
        with pytest.raises(NotFoundError, match="no earlier release that served"):
            await w.deployer.target("svc", None)
        with pytest.raises(NotFoundError, match="no release 7"):
            await w.deployer.target("svc", 7)
        with pytest.raises(ConflictError, match="release 1 of svc is the live one"):
            await w.deployer.target("svc", 1)
        await w.live("two")
        (await w.bundles.file(first.bundle)).unlink()
        with pytest.raises(ConflictError, match=r"bundle of release 1 .* collected") as refused:
            await w.deployer.target("svc", 1)
        assert "deploy commit abcdef again" in str(refused.value.hint)

    world(tmp_path, body)


def test_unneeded_bundles_are_collected(tmp_path: Path) -> None:
    """Not those that are live, run, can be rolled back to, or are less than a day old."""

    async def body(w: World) -> None:
        w.settings.keep_releases = 2
        w.ends = False
        releases = [await w.live("0")]
        running = await w.launch()
        await w.until(running.fid, Status.RUNNING)
        releases += [await w.live(str(number)) for number in range(1, 5)]
        w.problem = PROBLEM
        releases.append(await w.live("broken"))

        async def collected() -> list[int]:
            await w.blobs.collect()
            return [r.number for r in releases if not await w.bundles.has(r.bundle)]

        assert await collected() == [], "all were brought today"
        age(w, days=2)
        assert await collected() == [2, 3, 6], "not 1, which runs, nor 4 and 5"
        await w.store.executions.settle(running.fid, Status.CANCELLED)
        assert await collected() == [1, 2, 3, 6]

    world(tmp_path, body)


def test_a_bundle_is_not_collected_during_a_deploy(tmp_path: Path) -> None:
    """If the deploy was told that it is there, it stays for another day."""

    async def body(w: World) -> None:
        w.settings.keep_releases = 1
        first = await w.live("one")
        await w.live("two")
        age(w, days=2)
        assert (await w.bundles.state(first.bundle))[1]
        await w.blobs.collect()
        assert await w.bundles.has(first.bundle)
        async with w.bundles.hold(first.bundle):
            age(w, days=2)
            collecting = asyncio.create_task(w.blobs.collect())
            await asyncio.sleep(0.05)
            assert await w.bundles.has(first.bundle), "while it is made a release"
        await collecting
        assert not await w.bundles.has(first.bundle)
        with pytest.raises(NotFoundError, match="no bundle"):
            await w.deployer.deploy(MANIFEST, bundle=first.bundle, by="ada")

    world(tmp_path, body)


def test_an_uploaded_file_is_not_a_bundle(tmp_path: Path) -> None:
    """Otherwise a deployer could read any file whose hash is known."""

    async def body(w: World) -> None:
        sha256 = hashlib.sha256(b"secret").hexdigest()

        async def content() -> AsyncIterator[bytes]:
            yield b"secret"

        await w.blobs.receive("bob", sha256, offset=0, length=6, body=content())
        assert await w.bundles.state(sha256) == (0, False)
        with pytest.raises(NotFoundError):
            await w.deployer.deploy(MANIFEST, bundle=sha256, by="ada")

    world(tmp_path, body)


def test_adopts_the_bundles_of_an_earlier_koco(tmp_path: Path) -> None:
    """They had their own folder. Their releases can be rolled back to."""

    async def body(w: World) -> None:
        sha256 = hashlib.sha256(b"old").hexdigest()
        (tmp_path / "bundles").mkdir()
        (tmp_path / "bundles" / f"{sha256}.zip").write_bytes(b"old")
        await w.store.releases.create("s", bundle=sha256, fingerprint="", manifest=MANIFEST, by="")
        w.begin(tmp_path)
        assert (await w.bundles.file(sha256)).read_bytes() == b"old"
        assert await w.bundles.state(sha256) == (3, True)

    world(tmp_path, body)


def test_an_undeploy_is_refused_while_executions_run(tmp_path: Path) -> None:
    """The error has their number, and nothing is changed."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        with pytest.raises(ConflictError, match=r"1 execution has not ended \(1 running\)"):
            await w.deployer.undeploy("svc", by="ada")
        assert await w.number() == 1
        assert w.catalog.release("svc").number == 1
        with pytest.raises(NotFoundError, match="no service is called"):
            await w.deployer.undeploy("other", by="ada")

    world(tmp_path, body)


def test_draining_lets_executions_end_and_refuses_launches(tmp_path: Path) -> None:
    """Also after a restart. The next deploy has the next number."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        running, queued = await w.launch(), await w.launch()
        await w.until(running.fid, Status.RUNNING)
        ended = await w.deployer.undeploy("svc", by="ada", running="drain")
        assert [each.number for each in ended] == [1]
        with pytest.raises(NotFoundError):
            w.catalog.release("svc")
        w.ends = True
        await next(r for r in w.runners if running.fid in r.fids).report(
            running.fid, Status.FINISHED, count=1
        )
        await w.until(queued.fid, Status.FINISHED)
        assert await w.deployer.undeploy("svc", by="ada", running="drain") == [], "again"
        assert await w.store.executions.count_open("svc") == {}
        w.begin(tmp_path)
        await w.deployer.recover()
        assert (await w.store.releases.get("svc", 1)).retired is not None
        assert (await w.live()).number == 2, "though it is the same code"

    world(tmp_path, body)


def test_an_undeploy_can_cancel_executions(tmp_path: Path) -> None:
    """Queued ones, too. Runners leave."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        made = [await w.launch() for _ in range(5)]
        await w.until(made[0].fid, Status.RUNNING)
        await w.deployer.undeploy("svc", by="ada", running="cancel", grace_s=0.01)
        for execution in made:
            await w.until(execution.fid, Status.CANCELLED)
        pool = w.supervisor.pools["svc", 1]
        while pool.runners:
            await asyncio.sleep(0.01)

    world(tmp_path, body)


def test_executions_are_cancelled_after_a_restart(tmp_path: Path) -> None:
    """If the control plane dies right after the commit, no waiting one runs."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        made = [await w.launch() for _ in range(250)]
        await w.until(made[0].fid, Status.RUNNING)
        actor = next(r for r in w.runners if made[0].fid in r.fids)
        await w.store.releases.undeploy(
            "svc", ReleaseFailure(message="gone"), beside_running=True, cancel_grace_s=0.01
        )
        now = [await w.store.executions.get(each.fid) for each in made]
        waiting = [each.fid for each in now if each.status is Status.QUEUED]
        assert len(waiting) > 200
        w.begin(tmp_path)
        await w.supervisor.recover({("svc", 1, actor.spec.id): actor})
        await w.deployer.recover()
        for execution in made:
            await w.until(execution.fid, Status.CANCELLED)
        assert not [fid for fid in waiting if (await w.store.executions.get(fid)).started]

    world(tmp_path, body)


def test_launches_during_an_undeploy_are_cancelled_as_well(tmp_path: Path) -> None:
    """An execution accepted at that moment is kept and ends without running."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        first = await w.launch()
        await w.until(first.fid, Status.RUNNING)
        launching = [asyncio.create_task(w.launch()) for _ in range(3)]
        undeploying = asyncio.create_task(
            w.deployer.undeploy("svc", by="ada", running="cancel", grace_s=0.01)
        )
        await asyncio.sleep(0)
        launching += [asyncio.create_task(w.launch()) for _ in range(3)]
        made = await asyncio.gather(*launching)
        await undeploying
        for execution in (first, *made):
            await w.until(execution.fid, Status.CANCELLED)
        for execution in made:
            assert (await w.store.executions.get(execution.fid)).started is None

    world(tmp_path, body)


def test_executions_that_drain_can_be_cancelled(tmp_path: Path) -> None:
    """Also after a restart, so no undeploy is left half done."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        await w.deployer.undeploy("svc", by="ada", running="drain")
        actor = next(r for r in w.runners if execution.fid in r.fids)
        w.begin(tmp_path)
        await w.supervisor.recover({("svc", 1, actor.spec.id): actor})
        await w.deployer.recover()
        with pytest.raises(ConflictError, match="1 running"):
            await w.deployer.undeploy("svc", by="ada")
        await w.deployer.undeploy("svc", by="ada", running="cancel", grace_s=0.01)
        await w.until(execution.fid, Status.CANCELLED)

    world(tmp_path, body)


def test_an_undeploy_ends_a_starting_release(tmp_path: Path) -> None:
    """It fails, and cannot go live afterwards."""

    async def body(w: World) -> None:
        w.importing.clear()
        release, _ = await w.deploy("one")
        await asyncio.sleep(0.02)
        await w.deployer.undeploy("svc", by="bob")
        await eventually(w.runners[0].over.done)  # it does not import on in vain
        w.importing.set()
        found = await w.deployer.wait("svc", release.number, seconds=10)
        assert (found.status, found.error and found.error.message) == (
            "failed",
            "bob undeployed svc meanwhile",
        )
        assert (await w.store.releases.go_live("svc", 1, [])).status == "failed"
        assert await w.number() is None

    world(tmp_path, body)


def test_undeploying_a_closed_service_opens_it(tmp_path: Path) -> None:
    """Nothing serves, but nobody is asked to fix the release."""

    async def body(w: World) -> None:
        w.problem = PROBLEM
        await w.live("one", fallback=False)
        await w.deployer.undeploy("svc", by="ada")
        w.begin(tmp_path)
        await w.deployer.recover()
        assert w.deployer.troubles == {}
        with pytest.raises(NotFoundError):
            w.catalog.release("svc")

    world(tmp_path, body)


def test_a_launch_that_is_being_decided_during_an_undeploy_is_refused(tmp_path: Path) -> None:
    """Draining promises no new ones. The error says that there is no such service."""

    async def body(w: World) -> None:
        deciding = asyncio.Event()

        async def resolve(inputs: Any, **_: Any) -> Any:
            await deciding.wait()
            return inputs, ()

        files: Any = SimpleNamespace(resolve=resolve)
        launches = Launches(w.store, w.supervisor, w.catalog, endpoints=files, files=files)
        await w.live()
        launching = asyncio.create_task(launches.launch(w.catalog.find("flow"), {}, user="ada"))
        await asyncio.sleep(0.01)
        await w.deployer.undeploy("svc", by="bob")
        deciding.set()
        with pytest.raises(NotFoundError, match="no service is called 'svc'"):
            await launching
        assert await w.store.executions.count_open("svc") == {}

    world(tmp_path, body)


def test_history_has_pages_newest_first(tmp_path: Path) -> None:
    """A cursor stays valid while releases are added."""

    async def body(w: World) -> None:
        for number in range(5):
            await w.live(str(number))
        page = await w.store.releases.page("svc", limit=2)
        assert [each.number for each in page.items] == [5, 4]
        await w.live("more")
        page = await w.store.releases.page("svc", limit=9, cursor=page.next)
        assert ([each.number for each in page.items], page.next) == ([3, 2, 1], None)

    world(tmp_path, body)


def age(w: World, *, days: float) -> None:
    """Let everything that was brought be as old as that."""
    then = time.time() - days * 86_400
    for path in w.blobs.kept.path("0" * 64).parent.parent.glob("??/*"):
        os.utime(path, (then, then))
    w.store.engine._db.execute("UPDATE uploads SET created = ?", (line.timestamp(then),))


def test_a_late_release_fails_even_if_ray_does_not_answer(tmp_path: Path) -> None:
    """The question where a runner could be placed must not block for ever."""

    async def body(w: World) -> None:
        async def away(_: Release) -> str | None:
            raise RuntimeError("the head is away")

        w.deployer._rollouts._unplaced = away
        w.importing.clear()
        release = await w.live("one", timeout_s=0.05)
        assert release.status == "failed"
        assert release.error is not None
        assert "not ready within 0.05 s" in release.error.message

    world(tmp_path, body)


def test_an_application_that_comes_up_gets_its_latest_configuration(tmp_path: Path) -> None:
    """A secret may be set meanwhile, and the old value must not stay."""

    async def body(w: World) -> None:
        release, wanted = await w.live(), ["old"]
        written: list[str] = []
        up = asyncio.Event()

        async def make(_: Release) -> Any:
            return wanted[0]

        async def bring_up(application: Any, *, is_wanted: Callable[[], bool]) -> bool:
            written.append(application)
            await up.wait()
            return is_wanted()

        serve: Any = SimpleNamespace(bring_up=bring_up)
        applications = Applications(
            serve, w.store, supervisor=w.supervisor, catalog=w.catalog, make=make
        )
        task = applications.bring_back(release)
        await eventually(lambda: bool(written))
        wanted[0] = "new"
        assert applications.bring_back(release) is task
        up.set()
        await task
        assert written == ["old", "new"]
        await asyncio.sleep(0)
        assert applications.bring_back(release) is not task

    world(tmp_path, body)


def test_a_newer_deploy_supersedes_a_starting_one(tmp_path: Path) -> None:
    """At once: its client hears so, its runner ends, and the newer need not wait."""

    async def body(w: World) -> None:
        await w.live("one")
        w.importing.clear()
        await w.deploy("two")
        await eventually(lambda: len(w.runners) == 2)
        waiting = asyncio.create_task(w.deployer.wait("svc", 2, seconds=60))
        newer, _ = await w.deploy("three")
        old = await asyncio.wait_for(waiting, 20)
        assert old.status == "failed"
        assert "ada deployed release 3" in str(old.error)
        assert ("svc", 2) not in w.supervisor.pools
        w.importing.set()
        assert (await w.deployer.wait("svc", newer.number, seconds=10)).status == "live"
        assert (await w.number(), w.catalog.release("svc").number) == (3, 3)
        assert w.runners[1].over.done(), "its runner has been ended"

    world(tmp_path, body)


def test_a_repeated_deploy_returns_the_first_ones_outcome(tmp_path: Path) -> None:
    """Even if that fails between the plan and the deploy."""

    async def body(w: World) -> None:
        await w.live("one")
        w.importing.clear()
        await w.deploy("two")
        seen = await w.deployer.replaced("svc")
        w.problem = PROBLEM
        w.importing.set()
        failed = await w.deployer.wait("svc", 2, seconds=60)
        again, unchanged = await w.deploy("two", expect=seen)
        assert (seen, again.number, again.error, unchanged) == (2, 2, failed.error, False)
        w.problem = None
        fixed, _ = await w.deploy("two", expect=await w.deployer.replaced("svc"))
        assert fixed.number == 3, "whoever sees that it has failed deploys anew"

    world(tmp_path, body)


def test_a_repeated_deploy_is_told_who_superseded_the_first(tmp_path: Path) -> None:
    """Like the client that waited for it. The same holds for an undeploy."""

    async def body(w: World) -> None:
        w.importing.clear()
        await w.deploy("one")
        await w.deploy("two")
        again, _ = await w.deploy("one", expect=1)
        assert "ada deployed release 2" in str(again.error)
        await w.deployer.undeploy("svc", by="bob")
        again, _ = await w.deploy("two", expect=2)
        assert "bob undeployed svc" in str(again.error)

    world(tmp_path, body)


def test_a_failed_release_does_not_prevent_another(tmp_path: Path) -> None:
    """Nothing else has changed: the plan compared with the live release."""

    async def body(w: World) -> None:
        await w.live("one")
        w.importing.clear()
        await w.deploy("two")
        w.problem = PROBLEM
        w.importing.set()
        await w.deployer.wait("svc", 2, seconds=60)
        w.problem = None
        release, _ = await w.deploy("three", expect=2)
        assert (release.number, release.status) == (3, "starting")
        w.problem = PROBLEM
        assert (await w.deployer.wait("svc", 3, seconds=10)).status == "failed"
        await w.deployer.undeploy("svc", by="ada", expect=3)
        assert await w.number() is None

    world(tmp_path, body)


@pytest.mark.parametrize("how", ["deployed", "undeployed"])
def test_a_change_by_somebody_else_is_a_conflict(tmp_path: Path, how: str) -> None:
    """A failed release hides neither a deploy nor an undeploy that came after it."""

    async def body(w: World) -> None:
        await w.live("one")
        w.problem = PROBLEM
        assert (await w.live("two")).status == "failed"
        w.problem = None
        if how == "deployed":
            await w.live("three")
        else:
            await w.deployer.undeploy("svc", by="bob")
        with pytest.raises(ConflictError, match="svc has changed meanwhile"):
            await w.deploy("four", expect=2)

    world(tmp_path, body)


def test_a_repeated_deploy_is_told_that_the_first_is_broken(tmp_path: Path) -> None:
    """It went live meanwhile, and koco has rolled back."""

    async def body(w: World) -> None:
        await w.live("one")
        w.importing.clear()
        await w.deploy("two")
        w.importing.set()
        await w.deployer.wait("svc", 2, seconds=60)
        await killed(w, 2)
        await eventually(lambda: w.catalog.release("svc").number == 3)
        again, unchanged = await w.deploy("two", expect=2)
        assert (again.number, unchanged) == (2, False)
        assert "koco rolls back to release 1" in str(again.error)

    world(tmp_path, body)


def test_the_url_of_a_coming_release_has_a_placeholder_until_then(tmp_path: Path) -> None:
    """Then it has its bundle. Nobody can make such a URL."""

    async def body(w: World) -> None:
        url = w.bundles.url_of_release("svc", 1)
        signature, name = url.removesuffix(".zip").split("/")[-2:]
        before = await w.bundles.of_release(signature, name)
        assert isinstance(before, bytes)
        assert url.encode() in before
        await w.live("one")
        after = await w.bundles.of_release(signature, name)
        assert isinstance(after, Path) and after.read_bytes() == b"one"
        with pytest.raises(NotFoundError):
            await w.bundles.of_release(signature, name.replace("svc.1", "svc.2"))

    world(tmp_path, body)
