"""Schedules over a real store and a real supervisor; what time it is, the test says."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.control.executions.files import Files
from koco.control.executions.launcher import Launches
from koco.control.executions.scheduling import schedule_spec
from koco.control.executions.scheduling.schedules import Schedules, ScheduleState
from koco.control.services.catalog import Catalog
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.events import line
from koco.events.model import Status
from koco.forms import InputText, Model
from koco.manifest import cron, model
from koco.manifest.descriptions import FlowDescription
from koco.manifest.model import Manifest
from koco.store.model import AuditQuery, Execution, Release
from koco.store.schedules import EACH
from tests.support.pools import World, world
from tests.support.releases import flow, manifest

HOUR = 3600.0
#: What the first release goes live at, and what is due at the full hours after it.
START = datetime(2026, 11, 24, 6, 30, tzinfo=UTC).timestamp()
SEVEN, EIGHT, NINE, TEN = (START + HOUR / 2 + HOUR * number for number in range(4))
HOURLY = {"flow": "flow", "cron": "0 * * * *"}


class Clock:
    """Schedules of a world, at times that a test chooses."""

    def __init__(self, w: World, tmp_path: Path) -> None:
        self.w = w
        self.tmp_path = tmp_path
        self.restart()

    def restart(self) -> None:
        """Begin anew over the same store, as a restarted control plane does."""
        self.w.restart()
        self.catalog = Catalog()
        blobs = Blobs(
            self.tmp_path,
            self.w.store,
            self.w.settings,
            Disk(self.tmp_path, self.w.settings, self.w.store.engine),
        )
        files = Files(self.w.store, self.w.spooler, blobs, secret=b"s")
        endpoints: Any = None
        launches = Launches(
            self.w.store, self.w.supervisor, self.catalog, endpoints=endpoints, files=files
        )
        self.schedules = Schedules(self.w.store, self.catalog, launches)

    async def live(self, *schedule: dict[str, Any], form: Any = None, **more: Any) -> Release:
        """Let a release with these schedules go live, at half past six."""
        return await self.put(await self.w.live(**more), *schedule, form=form)

    async def put(self, release: Release, *schedule: dict[str, Any], form: Any = None) -> Release:
        """Let it have these schedules, too."""
        release = msgspec.structs.replace(
            release,
            ready=line.timestamp(START),
            manifest=_scheduled(release.manifest, *schedule),
            flows=(flow(form=form),),
        )
        self.catalog.put(release)
        await self.schedules.refresh(START)
        return release

    async def at(self, now_s: float) -> list[float | None]:
        """Let it be a time; return when each schedule wants to be looked at again."""
        keys = [*self.schedules._watches]
        return [await self.schedules.attend(key, now_s) for key in keys]

    @property
    def state(self) -> ScheduleState:
        [state] = self.schedules.of("svc/flow")
        return state

    async def made(self) -> list[Execution]:
        page = await self.w.store.executions.page(limit=100)
        return page.items[::-1]


def _scheduled(manifest: Manifest, *schedule: dict[str, Any]) -> Manifest:
    parsed = tuple(model.Schedule.model_validate(each) for each in schedule)
    return manifest.model_copy(update={"schedule": parsed})


def clocked(tmp_path: Path, body: Callable[[Clock], Awaitable[None]]) -> None:
    async def run(w: World) -> None:
        await body(Clock(w, tmp_path))

    world(tmp_path, run)


def test_launches_once_at_the_due_time(tmp_path: Path) -> None:
    """Not before and not again. The execution names its schedule."""

    async def body(c: Clock) -> None:
        await c.live({**HOURLY, "inputs": {"who": "Ada"}})
        assert await c.at(SEVEN - 1) == [SEVEN]
        assert await c.made() == []
        assert await c.at(SEVEN) == [EIGHT]
        assert await c.at(SEVEN + 0.5) == [EIGHT]
        [made] = await c.made()
        assert (made.user, made.inputs, made.release) == ("schedule", {"who": "Ada"}, 1)
        [chunk] = await c.w.store.events.after(made.id, 0, budget_bytes=1)
        meta = line.decode(1, next(line.number_lines(1, chunk.body))[1])["payload"]
        due = line.timestamp(SEVEN)
        assert meta["schedule"] == {"cron": "0 * * * *", "timezone": "UTC", "due": due}
        assert (c.state.last, c.state.fid, c.state.missed) == (due, made.fid, 0)
        [entry] = (await c.w.store.audit.page(AuditQuery())).items
        assert (entry.who, entry.action, entry.target) == ("schedule", "launch", made.fid)
        assert c.state.next == line.timestamp(EIGHT)

    clocked(tmp_path, body)


@pytest.mark.parametrize("stage", ["before the launch", "after it", "after it was noted"])
def test_launches_once_if_the_control_plane_dies_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The next one looks up the key. A few seconds of delay do not matter."""

    async def body(c: Clock) -> None:
        release = await c.live(HOURLY)
        if stage != "before the launch":
            with monkeypatch.context() as patch:
                if stage == "after it":

                    async def die(*_: Any) -> None:
                        raise SystemError

                    patch.setattr(c.w.store.schedules, "put", die)
                    with pytest.raises(SystemError):
                        await c.at(SEVEN)
                else:
                    await c.at(SEVEN)
        # Half a minute late it is launched; had it been by then, so it was, however late.
        back = SEVEN + (600 if stage == "after it" else 30)
        c.restart()
        c.catalog.put(release)
        await c.schedules.refresh(back)
        await c.at(back)
        [made] = await c.made()
        assert (c.state.fid, c.state.last) == (made.fid, line.timestamp(SEVEN))
        assert c.state.missed == 0
        await c.w.until(made.fid, Status.FINISHED)
        await c.at(EIGHT)
        assert len(await c.made()) == 2

    clocked(tmp_path, body)


def find_problem(**inputs: str) -> str | None:
    """Return why a schedule of a Kodosumi flow is refused."""
    form = [
        {"type": "text", "name": "topic", "required": True},
        {"type": "text", "name": "size", "value": "m"},
    ]
    app = FlowDescription(name="flow", path="/", entrypoint="m:f", form=form, dialect="kodosumi")
    scheduled = _scheduled(manifest(service="svc"), {**HOURLY, "inputs": inputs})
    found = asyncio.run(schedule_spec.find_problem(scheduled, [app]))
    return found and found.message


def test_a_kodosumi_flow_is_scheduled_as_a_browser_sends_its_form() -> None:
    """A required field that has no value and is not given is refused when it is deployed."""
    assert find_problem(topic="x", more="ignored") is None
    assert find_problem() == "schedule[0]: flow refuses its inputs: topic: is required"


def test_similar_services_have_separate_schedules(tmp_path: Path) -> None:
    """The same flow at the same times: each service has its own launch."""

    async def body(c: Clock) -> None:
        release = await c.live(HOURLY)
        await c.put(msgspec.structs.replace(release, service="other"), HOURLY)
        made = await c.w.store.releases.create(
            "other", bundle="b", fingerprint="f", manifest=release.manifest, by=""
        )
        await c.w.store.releases.go_live("other", made.number, [])
        await c.at(SEVEN)
        assert sorted(each.flow for each in await c.made()) == ["other/flow", "svc/flow"]

    clocked(tmp_path, body)


@pytest.mark.parametrize("catch_up", [False, True])
def test_counts_missed_times(tmp_path: Path, catch_up: bool) -> None:
    """How often and when last. Only the latest is made up for, if wanted."""

    async def body(c: Clock) -> None:
        release = await c.live({**HOURLY, "catch_up": catch_up})
        c.restart()
        c.catalog.put(release)
        await c.schedules.refresh(NINE + 1800)
        assert await c.at(NINE + 1800) == [TEN]
        assert len(await c.made()) == catch_up
        assert c.state.missed == 3 - catch_up
        assert c.state.missed_at == line.timestamp(EIGHT if catch_up else NINE)
        assert c.state.last == (line.timestamp(NINE) if catch_up else None)
        await c.at(NINE + 1801)
        assert (len(await c.made()), c.state.missed) == (catch_up, 3 - catch_up)

    clocked(tmp_path, body)


def test_shows_the_latest_missed_time(tmp_path: Path) -> None:
    """Even if there are more than are counted."""

    async def body(c: Clock) -> None:
        release = await c.live({"flow": "flow", "cron": "* * * * * *"})
        c.restart()
        c.catalog.put(release)
        await c.schedules.refresh(NINE)
        await c.at(NINE + 0.5)
        assert c.state.missed_at == line.timestamp(NINE - 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cron, "MOST", 100)
        clocked(tmp_path, body)


def test_a_clock_that_is_set_back_launches_nothing_twice(tmp_path: Path) -> None:
    """Launched times stay launched."""

    async def body(c: Clock) -> None:
        await c.live(HOURLY)
        await c.at(EIGHT)
        assert await c.at(SEVEN) == [EIGHT]
        await c.at(EIGHT)
        assert len(await c.made()) == 1

    clocked(tmp_path, body)


@pytest.mark.parametrize("overlap", [False, True])
def test_launches_do_not_overlap_unless_permitted(tmp_path: Path, overlap: bool) -> None:
    """An overlapping one is skipped and counted. Later ones run again."""

    async def body(c: Clock) -> None:
        c.w.ends = False
        await c.live({**HOURLY, "overlap": overlap})
        await c.at(SEVEN)
        await c.at(EIGHT)
        made = await c.made()
        assert len(made) == 1 + overlap
        assert (c.state.skipped, c.state.missed) == (1 - overlap, 0)
        if not overlap:
            assert c.state.skipped_at == line.timestamp(EIGHT)
            await c.w.until(made[0].fid, Status.RUNNING)
            await c.w.runner_of(made[0].fid).report(made[0].fid, Status.FINISHED, count=1)
            await c.at(NINE)
            assert len(await c.made()) == 2

    clocked(tmp_path, body)


def test_a_refused_launch_is_tried_again(tmp_path: Path) -> None:
    """With growing pauses until the next due time. Then it counts as missed."""

    async def body(c: Clock) -> None:
        c.w.ends = False
        await c.live(HOURLY, limits={"queue": 0}, max=1)
        await c.w.until((await c.w.launch()).fid, Status.RUNNING)
        assert await c.at(SEVEN) == [SEVEN + 5]
        assert "limits.queue" in c.state.trouble
        assert await c.at(SEVEN + 5) == [SEVEN + 20]
        assert await c.at(SEVEN + 6) == [SEVEN + 20]
        assert (await c.at(EIGHT - 1), c.state.missed) == ([EIGHT], 0)
        running = c.w.began[0]
        await c.w.runner_of(running).report(running, Status.FINISHED, count=1)
        await c.at(EIGHT)
        assert (c.state.trouble, c.state.missed) == (None, 1)
        assert c.state.last == line.timestamp(EIGHT)

    clocked(tmp_path, body)


def test_a_redeploy_applies_at_once(tmp_path: Path) -> None:
    """Equal schedules keep their state, changed ones start anew."""

    async def body(c: Clock) -> None:
        await c.live(HOURLY)
        await c.at(SEVEN)
        await c.live({**HOURLY, "overlap": True}, {**HOURLY, "cron": "0 8 * * *"})
        first, second = c.schedules.of("svc/flow")
        assert (first.last, second.last) == (line.timestamp(SEVEN), None)
        assert first.overlap
        await c.at(EIGHT)
        assert [each.release for each in await c.made()] == [1, 2, 2]
        await c.live()
        assert c.schedules.of("svc/flow") == []
        assert await c.w.store.schedules.all() == {}
        await c.live(HOURLY)
        c.catalog.remove("svc")
        await c.schedules.refresh(NINE)
        assert await c.at(NINE) == []

    clocked(tmp_path, body)


def test_schedules_follow_the_catalog(tmp_path: Path) -> None:
    """A release that goes live starts them, without any call."""

    async def body(c: Clock) -> None:
        await c.schedules.recover()
        await asyncio.sleep(0)
        release = await c.live()
        every_second = {"flow": "flow", "cron": "* * * * * *"}
        manifest = _scheduled(release.manifest, every_second)
        c.catalog.put(msgspec.structs.replace(release, manifest=manifest, ready=None))
        while not await c.made():
            await asyncio.sleep(0.02)
        [watch] = c.schedules._watches.values()
        c.catalog.remove("svc")
        await asyncio.sleep(0.05)
        assert watch.task is not None
        assert watch.task.done()
        count = len(await c.made())
        await asyncio.sleep(1.1)
        assert len(await c.made()) == count

    clocked(tmp_path, body)


def test_who_has_just_deployed_meets_the_new_schedules(tmp_path: Path) -> None:
    """Those of the former release are neither shown nor launched, however slow the store is."""

    async def body(c: Clock) -> None:
        await c.schedules.recover()
        every_second = {"flow": "flow", "cron": "* * * * * *"}
        release = await c.w.live()
        live = msgspec.structs.replace(
            release, manifest=_scheduled(release.manifest, every_second), flows=(flow(),)
        )
        c.catalog.put(live)
        await asyncio.gather(*(c.schedules.up_to_date() for _ in range(2)))
        assert [each.cron for each in c.schedules.of("svc/flow")] == ["* * * * * *"]
        c.catalog.put(msgspec.structs.replace(live, manifest=release.manifest))
        await c.schedules.up_to_date()
        assert c.schedules.of("svc/flow") == []

    clocked(tmp_path, body)


def test_a_release_whose_schedules_cannot_launch_fails() -> None:
    """The error says which one, why, and what to do."""
    form = Model(InputText(name="who", label="Who", required=True)).to_list()
    flows = [flow("greet", form=form), flow("any")]

    def said(entry: dict[str, Any]) -> Any:
        first = {"flow": "any", "cron": "* * * * *", "inputs": {"x": 1}}
        return asyncio.run(schedule_spec.find_problem(manifest(schedule=[first, entry]), flows))

    assert said({"flow": "greet", "cron": "* * * * *", "inputs": {"who": "Ada"}}) is None
    unknown = said({"flow": "hymn", "cron": "* * * * *"})
    assert unknown.message == "schedule[1]: there is no flow 'hymn'"
    assert unknown.hint == "flows: greet, any"
    refused = said({"flow": "greet", "cron": "* * * * *"})
    assert refused.message.startswith("schedule[1]: greet refuses its inputs: who: ")
    assert refused.hint == "set the inputs that it needs in schedule[1].inputs"
    # The app decides, but no browser sends a required field without a value.
    flows[0] = msgspec.structs.replace(flows[0], dialect="kodosumi", path="/")
    named = {"who": "Ada", "more": "x"}
    assert said({"flow": "greet", "cron": "* * * * *", "inputs": named}) is None
    assert said({"flow": "greet", "cron": "* * * * *"}).message.startswith("schedule[1]: greet")


def test_a_schedule_is_identified_by_what_and_when_it_launches() -> None:
    """Its other options do not change its identity."""
    entry = model.Schedule(flow="f", cron="* * * * *")
    alike = entry.model_copy(update={"overlap": True, "catch_up": True})
    assert schedule_spec.hash_of(alike) == schedule_spec.hash_of(entry)
    changes: list[dict[str, Any]] = [
        {"flow": "g"},
        {"inputs": {"a": 1}},
        {"timezone": "Asia/Tokyo"},
    ]
    others = [entry.model_copy(update=change) for change in changes]
    assert len({schedule_spec.hash_of(each) for each in (entry, *others)}) == 4


def test_a_paused_schedule_launches_nothing(tmp_path: Path) -> None:
    """Its times are neither missed nor made up for, and it goes on at its next time."""

    async def body(c: Clock) -> None:
        release = await c.live({**HOURLY, "catch_up": True})
        assert await c.at(START) == [SEVEN]
        await c.schedules.pause("svc/flow", EACH, by="ada")
        assert await c.at(SEVEN) == [None]
        state = c.state
        assert state.paused is not None
        assert (state.paused.by, state.paused.flow, state.next) == ("ada", True, None)
        c.restart()
        c.catalog.put(release)
        await c.schedules.refresh(SEVEN + 5)
        assert await c.at(EIGHT) == [None]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time", lambda: EIGHT + 60)
            await c.schedules.resume("svc/flow", EACH)
        assert await c.at(EIGHT + 61) == [NINE]
        assert await c.made() == []
        await c.at(NINE)
        assert len(await c.made()) == 1
        assert (c.state.missed, c.state.paused) == (0, None)

    clocked(tmp_path, body)


def test_a_pause_stays_over_deploys(tmp_path: Path) -> None:
    """Of a flow, for all of its schedules; of one schedule, as long as it stays the same."""

    async def body(c: Clock) -> None:
        release = await c.live(HOURLY)
        [watch] = c.schedules.watches()
        await c.schedules.pause("svc/flow", watch.id, by="ada")
        await c.put(release, HOURLY, {"flow": "flow", "cron": "30 * * * *"})
        paused = {each.cron: each.paused for each in c.schedules.of("svc/flow")}
        assert paused["30 * * * *"] is None
        found = paused["0 * * * *"]
        assert found is not None and not found.flow
        await c.schedules.pause("svc/flow", EACH, by="bob")
        c.catalog.remove("svc")
        await c.schedules.refresh(START)
        await c.put(release, {"flow": "flow", "cron": "15 * * * *"})
        assert c.state.paused is not None and c.state.paused.by == "bob"
        await c.schedules.resume("svc/flow", EACH)
        assert c.state.paused is None

    clocked(tmp_path, body)


def test_a_pause_ends_the_tries_of_a_launch(tmp_path: Path) -> None:
    """A launch that is refused is not tried again while it is paused."""

    async def body(c: Clock) -> None:
        await c.live(HOURLY)
        await c.at(START)
        [watch] = c.schedules.watches()
        watch.trying, watch.again_s, watch.trouble = SEVEN, SEVEN + 5, "no room"
        await c.schedules.pause("svc/flow", watch.id, by="ada")
        assert await c.at(SEVEN + 5) == [None]
        assert c.state.trouble is None

    clocked(tmp_path, body)
