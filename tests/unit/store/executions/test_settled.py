"""Executions that have ended are read once for lists."""

from collections.abc import Callable

from koco.events.model import Status
from koco.store.executions import settled
from koco.store.model import Execution
from koco.store.store import Store
from tests.support.stores import Check, begun, ended, launch


async def _listed(store: Store) -> dict[str, Execution]:
    return {each.fid: each for each in (await store.executions.page()).items}


def test_lists_show_each_change_until_the_end_and_then_keep_what_they_read(
    check: Callable[[Check], None],
) -> None:
    """Of one that has ended, the same object is listed again."""

    async def body(store: Store) -> None:
        fid = (await launch(store)).fid
        assert (await _listed(store))[fid].status is Status.QUEUED
        await store.executions.assign(fid, "r")
        assert (await _listed(store))[fid].status is Status.STARTING
        await store.executions.settle(fid, Status.CANCELLED)
        seen = (await _listed(store))[fid]
        assert seen.status is Status.CANCELLED
        assert seen.finished is not None
        assert (await _listed(store))[fid] is seen

    check(body)


def test_a_deleted_execution_is_in_no_list_although_it_was_kept(
    check: Callable[[Check], None],
) -> None:
    """Neither in whole lists nor in those with a filter."""

    async def body(store: Store) -> None:
        kept, gone = (await ended(store)).fid, (await ended(store)).fid
        assert set(await _listed(store)) == {kept, gone}
        await store.executions.delete(gone)
        assert set(await _listed(store)) == {kept}

    check(body)


def test_what_may_still_change_or_is_large_is_read_again(check: Callable[[Check], None]) -> None:
    """A resumed parent takes back the keys of its children; large inputs would fill the memory."""

    async def body(store: Store) -> None:
        child = await ended(store, key="child:x:1", key_digest="d")
        large = await ended(store, inputs={"text": "x" * settled.LARGEST_BYTES})
        open_one = await begun(store)
        first, second = await _listed(store), await _listed(store)
        for fid in (child.fid, large.fid, open_one.fid):
            assert first[fid] is not second[fid]

    check(body)


def test_the_number_of_kept_executions_is_limited(check: Callable[[Check], None]) -> None:
    """Whatever was listed, memory does not grow."""

    async def body(store: Store) -> None:
        fids = [(await ended(store)).fid for _ in range(3)]
        before, settled.MOST = settled.MOST, 2
        try:
            assert set(await _listed(store)) == set(fids)
            again = await _listed(store)
            assert set(again) == set(fids)
            assert len(store.executions._settled._kept) <= 2
        finally:
            settled.MOST = before

    check(body)
