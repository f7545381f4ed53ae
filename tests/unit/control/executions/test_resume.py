"""Resuming ended executions by hand: which steps, inputs and release the new one has."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from koco.errors import ConflictError, InputsError, NotFoundError
from koco.events import steps
from koco.events.model import Status
from koco.events.steps import StepStatus
from koco.events.wire import Batch
from koco.store.model import Execution
from tests.support.durable_executions import record
from tests.support.durable_plane import Durable
from tests.support.pools import over_store
from tests.support.releases import flow, manifest, upload
from tests.support.stores import FREE, new_file

FORM = [{"type": "number", "name": "n", "required": True}]
#: What is recorded of its steps.
RECORDS = [
    record("step:0", 1, result=b"r1"),
    record("step:1", 2, result=b"r2"),
    record("step:2", 3, StepStatus.ERROR, failures=1, result=b"r3"),
]


class Past(Durable):
    """A control plane with an execution that has failed in its third step."""

    async def deploy(self, *, form: Any = None, code: bytes = b"code") -> None:
        declared = manifest(flows=[{"name": "flow", "entrypoint": "m:f"}], runner={"max": 3})
        bundle = await upload(self.bundles, code)
        await self.go_live(declared, bundle=bundle, flows=[flow(form=form)])

    async def failed(self) -> Execution:
        await self.deploy()
        entry = self.catalog.find("svc/flow")
        launched, _ = await self.launches.launch(entry, {"n": 1}, user="ada")
        execution = await self.until(launched.fid, Status.RUNNING)
        runner = self.runner_of(execution.fid)
        lines = [steps.encode_line(each) for each in RECORDS]
        await self.append(Batch(execution.fid, "p", 1, 3, b"\n".join(lines), runner.spec.id))
        await self.store.files.attach(
            execution.fid,
            new_file("out/a.txt", await upload(self.bundles, b"abc")),
            by="flow",
            uploader="koco:bundles",
            limits=FREE,
        )
        await runner.report(execution.fid, Status.ERROR)
        return await self.until(execution.fid, Status.ERROR)

    async def keys(self, execution: Execution) -> list[str]:
        return [each.key for each in (await self.store.steps.page_of(execution.id)).items]


Body = Callable[[Past], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    return lambda body: over_store(tmp_path, lambda store: body(Past(store)))


def test_keeps_the_steps_before_the_failed_one(check: Callable[[Body], None]) -> None:
    """On its own release, with its inputs and all its files, though another release is live."""

    async def body(w: Past) -> None:
        former = await w.failed()
        await w.deploy(form=FORM, code=b"other code")
        new, is_new = await w.launches.resume(former, user="bob", key="k")
        assert is_new
        assert (new.release, new.inputs, new.user) == (former.release, {"n": 1}, "bob")
        assert (new.resume_of, new.retry_of) == (former.fid, None)
        await w.until(new.fid, Status.RUNNING)
        launches = {each.fid: each for each in w.orders}
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
        (await w.bundles.file(release.bundle)).unlink()
        with pytest.raises(ConflictError, match="code of release 1 of svc has been removed"):
            await w.launches.resume(former, user="ada")
        await w.launches.resume(former, user="ada", live=True)

    check(body)
