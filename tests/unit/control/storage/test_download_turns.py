"""Turns to download are fair among holders."""

import asyncio
import contextlib

from koco.control.storage.download_turns import DownloadTurns


def test_one_holder_leaves_turns_to_the_others() -> None:
    """It has two at most, and its line does not delay others."""

    async def main() -> None:
        turns, over = DownloadTurns(at_once=3, each=2), asyncio.Event()
        begun: list[str] = []

        async def download(holder: str) -> None:
            async with turns.turn(holder):
                begun.append(holder)
                await over.wait()

        tasks = [asyncio.create_task(download(each)) for each in ["ada"] * 9 + ["bob", "eve"]]
        await asyncio.sleep(0.01)
        assert begun == ["ada", "ada", "bob"]
        over.set()
        await asyncio.gather(*tasks)
        assert set(begun[3:5]) == {"ada", "eve"}
        assert len(begun) == 11

    asyncio.run(main())


def test_who_leaves_the_line_takes_no_turn() -> None:
    """Also if its turn has just come."""

    async def main() -> None:
        turns = DownloadTurns(at_once=1)

        async def download() -> None:
            async with turns.turn("ada"):
                await asyncio.sleep(0)

        async with turns.turn("bob"):
            waiting = [asyncio.create_task(download()) for _ in range(3)]
            await asyncio.sleep(0.01)
            waiting[1].cancel()
        waiting[0].cancel()
        for each in waiting:
            with contextlib.suppress(asyncio.CancelledError):
                await each
        async with asyncio.timeout(5):
            await download()

    asyncio.run(main())
