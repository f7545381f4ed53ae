"""Resuming ended executions by hand: which steps, inputs and release the new one has."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from koco.control.executions.launcher import Launches
from koco.control.services.bundles import Bundles
from koco.errors import ConflictError, InputsError, NotFoundError
from koco.events import steps
from koco.events.model import Status
from koco.events.steps import StepRecord, StepStatus
from koco.events.wire import Batch, encode_batches
from koco.runner.spec import Launch
from koco.store.model import Execution, NewFile
from koco.store.store import Store
from tests.support.api_server import end_others
from tests.support.pools import FakeRunner
from tests.support.releases import flow, manifest
from tests.unit.control.executions.test_waits import Plane

FORM = [{"type": "number", "name": "n", "required": True}]


class Past(Plane):
    """A control plane with an execution that has failed in its third step."""

    def restart(self) -> None:
        super().restart()
        blobs = self.launches._files.blobs
        self.bundles = Bundles(blobs, self.store, secret=b"b", url="")
        self.launches = Launches(
            self.store,
            self.supervisor,
            self.catalog,
            endpoints=self.launches._endpoints,
            files=self.launches._files,
            bundles=self.bundles,
        )
        self.blobs = blobs

    async def deploy(self, *, form: Any = None, code: bytes = b"code") -> None:
        sha256 = hashlib.sha256(code).hexdigest()
        async with self.blobs.settling:
            await self.blobs.put(code)
        await self.store.uploads.add("koco:bundles", sha256, len(code))
        declared = manifest(flows=[{"name": "flow", "entrypoint": "m:f"}], runner={"max": 3})
        made = await self.store.releases.create(
            "svc", bundle=sha256, fingerprint="", manifest=declared, by=""
        )
        release = await self.store.releases.go_live("svc", made.number, [flow(form=form)])
        self.catalog.put(release)
        self.supervisor.retire("svc", keep=release.number)
        self.supervisor.pool(release).keep_warm()

    async def failed(self) -> Execution:
        await self.deploy()
        entry = self.catalog.find("svc/flow")
        launched, _ = await self.launches.launch(entry, {"n": 1}, user="ada")
        execution = await self.until(launched.fid, Status.RUNNING)
        lines = [self.record(n, is_error=n == 3) for n in (1, 2, 3)]
        runner = self.runner_of(execution.fid)
        batch = Batch(execution.fid, "p", 1, 3, b"\n".join(lines), runner.spec.id)
        await self.spooler.append(encode_batches([batch]))
        new = NewFile(path="out/a.txt", sha256="0" * 64, size_bytes=1)
        await self.store.engine.write(
            lambda db: db.execute(
                "INSERT INTO files (execution, path, sha256, size_bytes, created, by)"
                " VALUES (:id, :path, :sha256, 1, '', 'flow')",
                {"id": execution.id, "path": new.path, "sha256": new.sha256},
            )
        )
        await runner.report(execution.fid, Status.ERROR)
        return await self.until(execution.fid, Status.ERROR)

    def record(self, number: int, *, is_error: bool) -> bytes:
        return steps.encode_line(
            StepRecord(
                key=f"step:{number - 1}",
                name="step",
                position=number,
                digest="d",
                status=StepStatus.ERROR if is_error else StepStatus.FINISHED,
                attempt=1,
                failures=int(is_error),
                started=float(number),
                duration_s=0.1,
                arguments="",
                preview="",
                result=b"r%d" % number,
            )
        )

    async def keys(self, execution: Execution) -> list[str]:
        return [each.key for each in (await self.store.steps.page_of(execution.id)).items]


Body = Callable[[Past], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    def run(body: Body) -> None:
        async def main() -> None:
            store = Store.at(tmp_path / "store.db")
            await store.open()
            try:
                await asyncio.wait_for(body(Past(store, tmp_path)), 60)
            finally:
                await end_others()
                await store.close()

        asyncio.run(main())

    return run


def test_keeps_the_steps_before_the_failed_one(
    check: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own release, with its inputs and all its files, though another release is live."""
    launches: dict[str, Launch] = {}
    launch = FakeRunner.launch

    async def note(self: FakeRunner, order: Launch) -> None:
        launches[order.fid] = order
        await launch(self, order)

    monkeypatch.setattr(FakeRunner, "launch", note)

    async def body(w: Past) -> None:
        former = await w.failed()
        await w.deploy(form=FORM, code=b"other code")
        new, is_new = await w.launches.resume(former, user="bob", key="k")
        assert is_new
        assert (new.release, new.inputs, new.user) == (former.release, {"n": 1}, "bob")
        assert (new.resume_of, new.retry_of) == (former.fid, None)
        await w.until(new.fid, Status.RUNNING)
        assert (launches[new.fid].has_past, launches[new.fid].origin) == (True, former.fid)
        assert await w.keys(new) == ["step:0", "step:1"]
        files = await w.store.files.all_of(new.id)
        assert [each.path for each in files] == ["out/a.txt"]
        await w.until(new.fid, Status.RUNNING)
        assert w.runner_of(new.fid).spec.release == former.release
        again, is_new = await w.launches.resume(former, user="bob", key="k")
        assert (again.fid, is_new) == (new.fid, False)

    check(body)


@pytest.mark.parametrize(("step", "kept"), [("step:1", ["step:0"]), ("step", [])])
def test_keeps_the_steps_before_a_given_one(
    check: Callable[[Body], None], step: str, kept: list[str]
) -> None:
    """By its key, or by its name for its first call. An unknown one is refused."""

    async def body(w: Past) -> None:
        former = await w.failed()
        new, _ = await w.launches.resume(former, user="ada", step=step)
        assert await w.keys(new) == kept
        with pytest.raises(NotFoundError, match="no step 'none'"):
            await w.launches.resume(former, user="ada", step="none")

    check(body)


def test_runs_on_the_live_release_if_asked(check: Callable[[Body], None]) -> None:
    """Its form must accept the inputs."""

    async def body(w: Past) -> None:
        former = await w.failed()
        await w.deploy(form=FORM, code=b"other code")
        new, _ = await w.launches.resume(former, user="ada", live=True)
        assert new.release == 2
        await w.deploy(form=[{"type": "text", "name": "t", "required": True}], code=b"third")
        with pytest.raises(InputsError) as caught:
            await w.launches.resume(former, user="ada", live=True)
        assert "has changed since" in (caught.value.hint or "")

    check(body)


def test_refuses_what_cannot_be_resumed(check: Callable[[Body], None]) -> None:
    """An execution that has not ended, and a release whose code has been removed."""

    async def body(w: Past) -> None:
        former = await w.failed()
        running, _ = await w.launches.launch(w.catalog.find("svc/flow"), {}, user="ada")
        with pytest.raises(ConflictError, match="has not ended"):
            await w.launches.resume(running, user="ada")
        release = await w.store.releases.get("svc", 1)
        w.bundles.path(release.bundle).unlink()
        with pytest.raises(ConflictError, match="code of release 1 of svc has been removed"):
            await w.launches.resume(former, user="ada")
        await w.launches.resume(former, user="ada", live=True)

    check(body)
