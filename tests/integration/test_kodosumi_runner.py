"""A service written for Kodosumi on a real Ray, unchanged: imports, tracer, files and Ray tasks."""

import pytest

from tests.support.driver import Ended, Koco, eventually

CODE = """
    import os, pathlib, tempfile

    import kodosumi.dtypes
    import ray
    from kodosumi import response
    from kodosumi.core import Tracer
    from kodosumi.runner.tracer import Tracer as SameTracer
    from pydantic import BaseModel

    class Verse(BaseModel):
        text: str

    @ray.remote(num_cpus=0)
    def write(tracer: Tracer, text: str):
        from kodosumi.core import Tracer as Here
        print("printed by", text)
        tracer.markdown_sync("# " + text, "body")
        fs = tracer.fs_sync()
        path = pathlib.Path(tempfile.mkdtemp()) / (text + ".md")
        path.write_text(text)
        batch = fs.upload(str(path))
        fs.close()
        return type(tracer) is Here, bool(batch), response.Text("made", text)

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self, tracer):
            self.tracer = tracer

        async def count(self, n):
            await self.tracer.result(n, Verse(text="verse"))
            return os.environ.get("KOCO_KODOSUMI")

    async def run(inputs: dict, tracer: Tracer):
        await tracer.debug("a", "b")
        prefix = inputs["who"].strip()
        made = await write.remote(tracer, prefix)
        closure = ray.remote(num_cpus=0)(lambda: isinstance(made[2], kodosumi.dtypes.Text))
        counter = Counter.remote(tracer)
        async with await tracer.fs() as fs:
            files = await fs.ls("out")
            content = await fs.open(files[0]["path"]).read_all()
            local = [pathlib.Path(path).read_text() async for path in fs.download("out")]
            removed = await fs.remove("out/Ada.md")
        return {
            "made": [made[0], made[1], made[2].body],
            "closure": await closure.remote(),
            "actor": await counter.count.remote(3),
            "files": [{**file, "last_modified": file["last_modified"] > 1e9} for file in files],
            "content": content.decode(),
            "local": local,
            "removed": removed,
            "same": Tracer is SameTracer and type(tracer) is Tracer,
            "fid": os.environ["KODOSUMI_FID"] == tracer.fid,
            "user": os.environ["KODOSUMI_USER_ID"],
            "inputs": inputs,
        }

    def ask(inputs, tracer, more=3):
        answer = tracer.lock_sync("review", {"page": 1})
        return Verse(text=answer["text"])

    def after():
        return os.environ.get("KODOSUMI_FID")
"""

FLOWS = [{"name": name, "entrypoint": f"ported_app:{name}"} for name in ("run", "ask", "after")]


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    runner = {"min": 1, "max": 1}
    return koco.deploy("ported", CODE, flows=FLOWS, runtime={"kodosumi": True}, runner=runner)


def test_a_service_runs_unchanged(app: Koco) -> None:
    """In its runner, a Ray task, a closure and an actor, `kodosumi` is the same package."""
    done = app.execute("run", who=" Ada ", unknown="1")
    assert done.result == {
        "made": [True, True, "made\nAda"],
        "closure": True,
        "actor": "1",
        "files": [{"path": "out/Ada.md", "size": 3, "last_modified": True}],
        "content": "Ada",
        "local": ["Ada"],
        "removed": True,
        "same": True,
        "fid": True,
        "user": "admin",
        "inputs": {"who": " Ada ", "unknown": "1"},
    }
    assert done.of("debug") == ["a\nb"]
    assert done.of("result") == [
        {"type": "markdown", "body": "# Ada\n\nbody"},
        3,
        {"$type": "Verse", "text": "verse"},
    ]
    assert done.of("stdout") == ["printed by Ada"]
    after = app.execute("after")  # in the same process
    assert after.result == after.fid


def test_a_lock_and_a_result_with_a_class(app: Koco) -> None:
    """A `def` waits in its thread; the result keeps the name of its class."""
    fid = app.launch("ask", a="1")
    [lock] = eventually(lambda: app.get_events(fid, kind="lock"))
    assert lock["payload"]["data"] == {"page": 1}
    app.run("answer", fid, "--inputs", "-", stdin='{"text": "yes"}').ok()
    assert Ended(fid, app.events(fid)).result == {"$type": "Verse", "text": "yes"}
