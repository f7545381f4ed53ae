"""What is entered into the outbox, with the change that it tells of."""

from collections.abc import Callable
from typing import Any

import pytest

from koco.errors import ConflictError, LimitError
from koco.events.model import Kind, Status
from koco.store import webhook_model
from koco.store.model import FailureEvent, NewExecution, News, Topic
from koco.store.store import Store
from koco.store.webhook_model import Attempt, DeliveryFilter, Maker, Webhook
from koco.store.webhooks import webhooks
from tests.support.stores import Check, batch, begun, launch, locked

Run = Callable[[Check], None]
ADA = Maker("ada", "")


def hook(name: str = "all", **more: Any) -> Webhook:
    values = {"id": f"id-{name}", "name": name, "url": "https://example.com/a?b", "by": "ada"}
    return Webhook(**{**values, **more})


async def told(store: Store, **wanted: Any) -> list[tuple[str, str]]:
    page = await store.deliveries.page(DeliveryFilter(**wanted))
    return [(each.webhook, each.event) for each in reversed(page.items)]


def test_each_end_and_each_lock_is_entered(check: Run) -> None:
    """Once for each lock, also if the execution awaits another already; and once for its end."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook())
        await store.webhooks.add(hook("runs", events=("running",)))
        execution = await begun(store)
        await locked(store, execution, "one")
        await locked(store, execution, "two")
        await locked(store, execution, "two")
        await store.executions.settle(
            execution.fid, Status.ERROR, FailureEvent(type="E", message="")
        )
        news = [("id-all", "awaiting"), ("id-all", "awaiting"), ("id-all", "error")]
        assert await told(store) == [("id-runs", "running"), *news]
        items = (await store.deliveries.page()).items
        assert [each.lid for each in items] == ["", "two", "one", ""]
        assert len({each.message for each in items}) == 4
        assert {each.origin for each in items} == {"https://example.com"}

    check(body)


def test_only_what_a_webhook_asks_for(check: Run) -> None:
    """Its flows, its events, its user's executions; and nothing while it is disabled."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook("flow", flows=("other/*", "svc/f*")))
        await store.webhooks.add(hook("other", flows=("other/*",)))
        await store.webhooks.add(hook("event", events=("finished",)))
        await store.webhooks.add(hook("bob", user="bob"))
        await store.webhooks.add(hook("off"))
        await store.webhooks.change("id-off", {"disabled": "2026"})
        execution = await begun(store)
        await store.executions.request_cancel(execution.fid, grace_s=0)
        await store.executions.settle(execution.fid, Status.CANCELLED)
        assert await told(store) == [("id-flow", "cancelled")]

    check(body)


def test_a_webhook_of_one_execution_hears_of_that_one_only(check: Run) -> None:
    """It comes with the launch, and goes with the execution, as do its deliveries."""

    async def body(store: Store) -> None:
        new = NewExecution(
            flow="s/f", service="s", release=1, inputs={}, webhooks=(hook("launch"),)
        )
        one, _ = await store.executions.create(new)
        other = await launch(store)
        for each in (one, other):
            await store.executions.settle(each.fid, Status.CANCELLED)
        assert await told(store) == [("id-launch", "cancelled")]
        assert [each.name for each in await store.webhooks.of(one.id, kind="koco", by=ADA)] == [
            "launch"
        ]
        assert (await store.webhooks.page()).items == []
        await store.executions.delete(one.fid)
        assert await told(store) == []
        assert await store.webhooks.get("id-launch") is None

    check(body)


def test_another_protocol_replaces_its_webhook_by_name(check: Run) -> None:
    """Kinds do not get in each other's way, and an execution has a limited number."""

    async def body(store: Store) -> None:
        execution = await launch(store)
        for number in ("1", "2"):
            await store.webhooks.add_to(execution.id, hook("x", kind="a2a", id=number))
        await store.webhooks.add_to(execution.id, hook("x"))
        assert [each.id for each in await store.webhooks.of(execution.id, kind="a2a", by=ADA)] == [
            "2"
        ]
        for number in range(2, webhooks.MOST_OF_EXECUTION):
            await store.webhooks.add_to(execution.id, hook(f"{number}", kind="a2a"))
        with pytest.raises(LimitError):
            await store.webhooks.add_to(execution.id, hook("more", kind="a2a"))

    check(body)


def test_a_failed_change_enters_nothing(check: Run) -> None:
    """The outbox is part of the change."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook())
        execution = await launch(store)

        def fail(db: Any) -> None:
            from koco.store.stream import lifecycle

            lifecycle.settle(db, execution.fid, Status.ERROR, None)
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            await store.engine.write(fail)
        assert await told(store) == []

    check(body)


def test_news_are_told_only_if_there_is_a_webhook(check: Run) -> None:
    """The sender is woken by the commit, and by nothing else."""

    async def body(store: Store) -> None:
        heard: list[News] = []
        store.listen(heard.extend)
        await store.executions.settle((await begun(store)).fid, Status.FINISHED)
        assert heard == []
        await store.webhooks.add(hook())
        fid = (await begun(store)).fid
        await store.events.append(
            [batch(fid, 1, "1", kind=Kind.FINAL, runner="r1", producer="q", status=Status.FINISHED)]
        )
        assert heard == [News(Topic.OUTBOX, fid)]

    check(body)


def test_names_are_unique(check: Run) -> None:
    """A name belongs to the first one, until that is removed with its deliveries."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook())
        with pytest.raises(ConflictError):
            await store.webhooks.add(hook(id="other"))
        await store.executions.settle((await begun(store)).fid, Status.FINISHED)
        assert await store.webhooks.remove("id-all")
        assert not await store.webhooks.remove("id-all")
        assert await told(store) == []

    check(body)


def test_due_leaves_out_who_is_busy(check: Run) -> None:
    """The sender asks without the origins and makers of which enough is on the way."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook("a", url="https://a.example/", by="ada"))
        await store.webhooks.add(hook("b", url="https://b.example:8/", by="bob"))
        await store.executions.settle((await begun(store)).fid, Status.FINISHED)
        [a, b] = (await store.deliveries.due(limit=9)).items
        assert (a.origin, b.origin) == ("https://a.example", "https://b.example:8")
        for less in ({"without": [a.id]}, {"origins": [a.origin]}, {"makers": ["ada"]}):
            assert (await store.deliveries.due(limit=9, **less)).items == [b]
        later = Attempt(at="2026", took_s=0.1, code=500, error="status 500", again=4e9)
        for each in (a, b):
            await store.deliveries.settle(each, later)
        assert await store.deliveries.due(limit=9) == ([], 4e9)
        [seen, _] = (await store.deliveries.page()).items
        assert (seen.tries, seen.code, seen.error) == (1, 500, "status 500")
        assert await store.deliveries.send_again([]) == 0
        assert await store.deliveries.send_again([a.id]) == 1
        assert [each.id for each in (await store.deliveries.due(limit=9)).items] == [a.id]

    check(body)


def test_gone_disables_and_settles_the_rest(check: Run) -> None:
    """What a disabled webhook has not been told yet has failed."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook())
        for _ in range(2):
            await store.executions.settle((await begun(store)).fid, Status.FINISHED)
        [first, _] = (await store.deliveries.due(limit=9)).items
        gone = Attempt(at="2026", took_s=0.1, code=410, error="gone", disables="it is gone")
        await store.deliveries.settle(first, gone)
        assert (await store.deliveries.due(limit=9)).items == []
        assert await store.deliveries.counts() == {"failed": 2}
        [off] = await store.webhooks.failing(100)
        assert (off.disabled, off.why) == ("2026", "it is gone")
        await store.webhooks.enable(off.id)
        assert await store.webhooks.failing(1) == []

    check(body)


def test_old_deliveries_are_removed(check: Run) -> None:
    """Those that are still to be sent stay."""

    async def body(store: Store) -> None:
        await store.webhooks.add(hook())
        for _ in range(2):
            await store.executions.settle((await begun(store)).fid, Status.FINISHED)
        [first, _] = (await store.deliveries.due(limit=9)).items
        await store.deliveries.settle(first, Attempt(at="2026", took_s=0.1, code=200))
        assert await store.deliveries.remove_old(before="2000") == 0
        assert await store.deliveries.remove_old(before="2999") == 1
        assert await store.deliveries.counts() == {"pending": 1}

    check(body)


def test_events_are_those_of_statuses() -> None:
    """An event is the status that it tells of."""
    assert all(Status(each) for each in webhook_model.EVENTS)
