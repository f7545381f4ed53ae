"""An execution in its process: what is made for it before it begins."""

import asyncio
from pathlib import Path

import pytest

from koco.events.model import Kind
from koco.runner import work
from koco.runner.flow import load_flow
from koco.runner.output import partial_lines
from koco.runner.output.partial_lines import Lines, Unfinished
from koco.runner.output.spool import Spool
from koco.runner.spec import Launch


def flow() -> None:
    """Do nothing."""


@pytest.mark.parametrize("durable", [False, True])
def test_only_plain_executions_keep_unfinished_lines(tmp_path: Path, durable: bool) -> None:
    """A durable one prints them again when it resumes, so they would be stored twice.

    If its process dies between a line and its newline, or before the line leaves the file, both
    the file and the outbox have the line.
    """

    async def never(blob: bytes) -> bytes:
        await asyncio.Event().wait()
        return blob

    async def main() -> None:
        made = work.prepare(
            Launch(fid="f", flow="svc/flow", inputs={}, attempt=1, durable=durable),
            load_flow("flow", flow, None),
            {},
            sink=Spool("r1", never).open("f", 1),
            lines=Lines(Unfinished(tmp_path), "f", 1),
            loop=asyncio.get_running_loop(),
        )
        made.output.write(Kind.STDOUT, "50 %")
        _, lines = partial_lines.read(tmp_path)
        assert [each.text for each in lines] == ([] if durable else ["50 %"])

    asyncio.run(main())
