"""Lists of executions by their latest change of status."""

from collections.abc import Callable
from typing import Any

import pytest

from koco.errors import UsageError
from koco.events.model import Status
from koco.store.model import EVERYTHING, PROOF, Filter, NewExecution, Sight
from koco.store.store import Store
from tests.support.stores import Check, ended, launch


def test_lists_what_changed_last_first(check: Callable[[Check], None]) -> None:
    """In pages that say how many there are; deleted ones and proofs are left out."""

    async def body(store: Store) -> None:
        one, two, three = await launch(store), await launch(store), await launch(store)
        gone = await ended(store)
        await store.executions.delete(gone.fid)
        await store.executions.create(NewExecution(flow=PROOF, service="", release=0, inputs={}))
        await store.executions.settle(one.fid, Status.CANCELLED)
        first = await store.executions.recent(limit=2)
        assert [each.fid for each in first.items] == [one.fid, three.fid]
        assert first.total == 3
        rest = await store.executions.recent(limit=2, cursor=first.next)
        assert [each.fid for each in rest.items] == [two.fid]
        assert rest.next is None
        with pytest.raises(UsageError, match="cursor"):
            await store.executions.recent(cursor="x")

    check(body)


def test_filters_by_tag_status_flow_and_sight(check: Callable[[Check], None]) -> None:
    """The tag is looked up, whatever else was launched since."""

    async def body(store: Store) -> None:
        async def fids(sight: Sight = EVERYTHING, **wanted: Any) -> list[str]:
            page = await store.executions.recent(Filter(**wanted), sight=sight)
            return [each.fid for each in page.items]

        new = NewExecution(
            flow="svc/flow", service="svc", release=1, inputs={}, tags=("a2a:c1",), user="ada"
        )
        tagged, _ = await store.executions.create(new)
        other = await ended(store, flow="svc/other", user="bob")
        assert await fids(tags=("a2a:c1",)) == [tagged.fid]
        assert await fids(tags=("a2a:c2",)) == []
        assert await fids(statuses=("finished",)) == [other.fid]
        assert await fids(flow="svc/other") == [other.fid]
        assert await fids(Sight("ada")) == [tagged.fid]
        assert await fids(Sight(None, ("svc/oth*",))) == [other.fid]

    check(body)
