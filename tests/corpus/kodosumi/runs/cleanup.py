"""`remove` returns True, and what is missing raises `FileNotFoundError`."""

from pathlib import Path
from tempfile import mkdtemp

from kodosumi.core import Tracer


def run(inputs: dict, tracer: Tracer):
    path = Path(mkdtemp()) / "draft.txt"
    path.write_text("draft")
    with tracer.fs_sync() as fs:
        fs.upload(str(path))
        removed = fs.remove("out/draft.txt")
        try:
            fs.open("out/draft.txt").read_all()
        except FileNotFoundError:
            return [removed, fs.ls("out")]
