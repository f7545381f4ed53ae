"""Files have `size` and `last_modified`, and an upload has the id of its batch."""

import tempfile
import time
from pathlib import Path

from kodosumi.core import Tracer


async def run(inputs: dict, tracer: Tracer):
    folder = Path(tempfile.mkdtemp())
    (folder / "deep").mkdir()
    (folder / "a.txt").write_text("hello")
    (folder / "deep" / "b.txt").write_text("hi")
    async with await tracer.fs() as fs:
        batch = await fs.upload(folder)
        found = await fs.ls("out")
        local = [Path(each).name async for each in fs.download("out/deep")]
    ages = [time.time() - each["last_modified"] for each in found]
    sizes = {each["path"]: each["size"] for each in found}
    return [
        isinstance(batch, str) and bool(batch),
        sizes,
        all(abs(age) < 600 for age in ages),
        local,
    ]
