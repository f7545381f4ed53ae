"""The feed of changes."""

from collections.abc import Callable

import pytest

from koco.events.model import Status
from koco.store.executions import changes
from koco.store.model import (
    EVERYTHING,
    PROOF,
    NewExecution,
    Sight,
)
from koco.store.store import Store
from tests.support.stores import Check, ended, launch


def test_has_each_execution_once_at_its_latest_change(check: Callable[[Check], None]) -> None:
    """A cursor stays valid for ever. Deletions are shown to those who saw the execution."""

    async def body(store: Store) -> None:
        async def told(cursor: str | None, sight: Sight = EVERYTHING) -> list[tuple[str, str]]:
            page = await store.changes.page(cursor=cursor, sight=sight, limit=1000)
            assert page.is_last
            return [(c.fid, c.execution.status if c.execution else "gone") for c in page.items]

        one, two = await launch(store), await ended(store, user="ada", flow="svc/other")
        cursor = await store.changes.latest()
        assert await told(cursor) == []
        assert await told(None) == [(one.fid, "queued"), (two.fid, "finished")]
        await store.executions.settle(one.fid, Status.CANCELLED)
        assert await told(None) == [(two.fid, "finished"), (one.fid, "cancelled")]
        assert await told(cursor) == [(one.fid, "cancelled")]
        # The newest one's id is not another's, whose changes would take its place.
        await store.executions.delete(two.fid)
        new = await launch(store)
        assert await told(cursor) == [
            (one.fid, "cancelled"),
            (two.fid, "gone"),
            (new.fid, "queued"),
        ]
        assert await told(cursor, Sight("ada")) == [(two.fid, "gone")]
        assert await told(cursor, Sight("bob")) == []
        assert await told(cursor, Sight(None, ("svc/oth*",))) == [(two.fid, "gone")]
        first = await store.changes.page(cursor=None, limit=1)
        assert [each.fid for each in first.items] == [one.fid]
        assert not first.is_last
        await store.executions.create(NewExecution(flow=PROOF, service="", release=0, inputs={}))
        await store.executions.forget_proofs()
        assert len(await told(cursor)) == 3

    check(body)


@pytest.mark.parametrize("few", [0, 100])
def test_a_user_sees_their_own_changes_page_by_page(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """However many executions they have: all changes are looked through, or only theirs."""
    monkeypatch.setattr(changes, "_FEW", few)

    async def body(store: Store) -> None:
        made = [await ended(store, user=("ada", "bob")[number % 2]) for number in range(9)]
        for each in (made[2], made[3]):
            await store.executions.delete(each.fid)
        seen: list[str] = []
        cursor, is_last = None, False
        while not is_last:
            page = await store.changes.page(cursor=cursor, sight=Sight("ada"), limit=2)
            seen += [each.fid for each in page.items]
            cursor, is_last = page.next, page.is_last
        assert seen == [made[number].fid for number in (0, 4, 6, 8, 2)]
        # And nothing after the end.
        page = await store.changes.page(cursor=cursor, sight=Sight("ada"))
        assert page.items == []

    check(body)
