"""What the control plane says a deploy would do, over a real store."""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from koco.api.routes.deploy.plan import PlannedChange
from koco.api.routes.deploy.plan import Step as StepAnswer
from koco.cluster.dashboard import ServeError
from koco.control.deploy import checks
from koco.control.deploy.plan import Planner, Step
from koco.errors import NotFoundError, UsageError
from koco.manifest import load
from koco.manifest.descriptions import AppHandlers
from koco.manifest.differences import File
from koco.manifest.model import Manifest
from koco.manifest.problems import Problem
from koco.store.model import NewExecution, ReleaseFailure, ReleaseOrigin
from koco.store.store import Store

MANIFEST: dict[str, Any] = {"service": "svc", "flows": [{"name": "a", "entrypoint": "app:a"}]}
APP = [File("app.py", 10, "one")]
CHANGED = [File("app.py", 12, "two")]


class World:
    """A store, bundles in memory, and what a test says of Serve."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bundles: dict[str, list[File]] = {"one": APP, "two": CHANGED}
        self.drift: dict[str, str] | ServeError = {}

    async def look(self) -> dict[str, str]:
        if isinstance(self.drift, ServeError):
            raise self.drift
        return self.drift

    async def files(self, sha256: str) -> list[File]:
        if sha256 == "odd":
            raise UsageError("the bundle odd cannot be read")
        if sha256 not in self.bundles:
            raise NotFoundError(f"no bundle {sha256}")
        return self.bundles[sha256]

    async def release(
        self,
        bundle: str = "one",
        *,
        live: bool = True,
        app: Any = None,
        hidden_env: tuple[str, ...] | None = None,
        **more: Any,
    ) -> int:
        manifest = load.check({**copy.deepcopy(MANIFEST), **more})
        release = await self.store.releases.create(
            manifest.service,
            bundle=bundle,
            fingerprint="",
            manifest=manifest,
            by="ada",
            origin=ReleaseOrigin(project="demo", hidden_env=hidden_env),
        )
        if live:
            await self.store.releases.go_live(release.service, release.number, [], app)
        return release.number

    async def planner(self, project: str | None = "demo") -> Planner:
        parts: Any = SimpleNamespace(
            store=self.store,
            bundles=self,
            deployer=SimpleNamespace(drift=self),
        )
        return await Planner.now(parts, project=project)

    async def step(self, files: list[File] = APP, **more: Any) -> Step:
        planner = await self.planner()
        return await planner.step({**MANIFEST, **more}, files)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that runs a coroutine over a store of its own."""
    monkeypatch.setattr(checks, "CHECKS", [])
    monkeypatch.setattr(checks, "WARNINGS", [])

    def run(body: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            store = Store.at(tmp_path / "store.db")
            await store.open()
            try:
                await body(World(store))
            finally:
                await store.close()

        asyncio.run(main())

    return run


def test_a_service_that_is_not_live_is_created(world: Any) -> None:
    """A failed release does not count."""

    async def body(w: World) -> None:
        number = await w.release(live=False)
        await w.store.releases.fail("svc", number, ReleaseFailure(message="no"))
        step = await w.step()
        assert (step.action, step.release, step.expect) == ("create", None, 0)

    world(body)


def test_equal_contents_are_unchanged(world: Any) -> None:
    """Whatever project or koco deployed them."""

    async def body(w: World) -> None:
        await w.release()
        step = await w.step(runner={"max": 10})
        assert (step.action, step.release, step.expect, step.parts) == ("unchanged", 1, 1, [])

    world(body)


def test_changed_settings_need_no_other_bundle(world: Any) -> None:
    """The plan names the existing one. If files differ, there is none."""

    async def body(w: World) -> None:
        await w.release()
        step = await w.step(runner={"max": 20})
        assert (step.action, step.parts, step.bundle) == ("update", ["replicas"], "one")
        step = await w.step(CHANGED)
        assert (step.action, step.parts, step.bundle) == ("update", ["code"], None)
        assert [(each.path, each.new_bytes) for each in step.files] == [("app.py", 12)]

    world(body)


def test_a_deploy_replaces_the_starting_release(world: Any) -> None:
    """Its bundle can be used again. The comparison is with the live one."""

    async def body(w: World) -> None:
        await w.release()
        await w.release("two", live=False)
        step = await w.step(CHANGED)
        assert (step.action, step.release, step.starting, step.expect) == ("update", 1, 2, 2)
        assert (step.parts, step.bundle) == (["code"], "two")
        back = await w.step()
        assert (back.action, back.parts, back.bundle) == ("update", [], "one")

    world(body)


def test_a_plan_works_without_a_readable_bundle(world: Any) -> None:
    """It has a warning, and the files are not compared."""

    async def body(w: World) -> None:
        await w.release()
        await w.release("odd", live=False)
        step = await w.step(CHANGED)
        assert (step.action, step.parts, step.bundle) == ("update", ["code"], None)
        assert step.warnings[0].message == "release 2: the bundle odd cannot be read"

    world(body)


def test_a_bundle_that_is_gone_is_sent_again(world: Any) -> None:
    """Files that cannot be compared do not count as equal."""

    async def body(w: World) -> None:
        await w.release()
        w.bundles.clear()
        step = await w.step()
        assert (step.action, step.bundle) == ("update", None)
        assert "is gone" in step.warnings[0].message

    world(body)


def test_only_live_services_of_the_project_are_removed(world: Any) -> None:
    """Neither those of others nor those in its manifests."""

    async def body(w: World) -> None:
        for name in ("old", "svc"):
            await w.release(service=name)
        planner = await w.planner()
        [step] = await planner.removals(["svc"])
        assert (step.service, step.action, step.expect, step.warnings) == ("old", "remove", 1, [])
        other = await w.planner("other")
        assert await other.removals(["svc"]) == []
        assert await (await w.planner(None)).removals([]) == []

    world(body)


def test_a_removal_warns_of_running_executions(world: Any) -> None:
    """It would be refused, so the user should know before."""

    async def body(w: World) -> None:
        await w.release()
        new = NewExecution(flow="svc/a", service="svc", release=1, inputs={}, user="ada")
        await w.store.executions.create(new)
        [step] = await (await w.planner()).removals([])
        assert "1 execution has not ended" in step.warnings[0].message

    world(body)


def test_warns_if_the_service_belongs_to_another_project(world: Any) -> None:
    """It may be a mistake: two teams may have chosen one name."""

    async def body(w: World) -> None:
        await w.release()
        planner = await w.planner("other")
        [warning] = (await planner.step(MANIFEST, APP)).warnings
        assert "another project, 'demo'" in warning.message

    world(body)


def test_a_change_in_serve_by_others_is_an_update(world: Any) -> None:
    """If Serve does not answer, there is a warning only."""

    async def body(w: World) -> None:
        await w.release(app=AppHandlers())
        w.drift = {"svc": "somebody removed it"}
        step = await w.step()
        assert (step.action, step.parts, step.drift) == ("update", ["drift"], "somebody removed it")
        w.drift = ServeError("no answer")
        step = await w.step()
        assert (step.action, step.drift) == ("unchanged", None)
        assert "no answer" in step.warnings[0].message

    world(body)


def test_a_manifest_that_is_refused_is_a_problem(world: Any) -> None:
    """Of its service only, with its place: an older control plane knows fewer keys."""

    async def body(w: World) -> None:
        step = await w.step(nope=1)
        assert [(each.path, each.message) for each in step.problems] == [(("nope",), "unknown key")]

    world(body)


def test_checks_find_problems_and_warnings(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They need the cluster, and see the manifest with its defaults."""

    async def check(_: Any, manifest: Manifest) -> list[Problem]:
        return [Problem((), f"max {manifest.runner.max}")]

    monkeypatch.setattr(checks, "CHECKS", [check])

    async def body(w: World) -> None:
        assert (await w.step()).problems == [Problem((), "max 10")]

    world(body)


def test_the_wire_form_omits_absent_values(world: Any) -> None:
    """So that null and absent differ."""

    async def body(w: World) -> None:
        await w.release(runtime={"env": {"A": "1"}}, hidden_env=())
        step = await w.step(runner={"executions": 5})
        changes = [PlannedChange.render(each) for each in step.changes]
        assert msgspec.to_builtins(changes) == [
            {"path": "runtime.env.A", "part": "environment", "old": "1"},
            {"path": "runner.executions", "part": "replicas", "old": None, "new": 5},
        ]
        assert (step.expect, step.action) == (1, "update")

    world(body)


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        (("A", "B"), [("********", "********"), ("********", None), ("c", "C")]),
        (None, [("********", "A"), ("********", None), ("********", "C")]),
    ],
)
def test_a_plan_hides_values_that_the_live_release_has_from_env_files(
    world: Any, hidden: tuple[str, ...] | None, shown: list[tuple[str, str | None]]
) -> None:
    """On both sides. If it is not known where the live values come from, all of them are hidden."""

    async def body(w: World) -> None:
        await w.release(runtime={"env": {"A": "a", "B": "b", "C": "c"}}, hidden_env=hidden)
        step = await w.step(runtime={"env": {"A": "A", "C": "C"}})
        changes = msgspec.to_builtins(StepAnswer.render(step))["changes"]
        sides = {each["path"]: (each.get("old"), each.get("new")) for each in changes}
        assert [sides[f"runtime.env.{name}"] for name in "ABC"] == shown

    world(body)
