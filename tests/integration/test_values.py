"""Values on real runners: what flows return, what signatures take, what is refused before."""

import unicodedata
from collections.abc import Iterator

import pytest

from tests.support.driver import Koco

CODE = """
    import pathlib, time
    from unittest.mock import MagicMock
    import pydantic

    class _Model(pydantic.BaseModel):
        raw: bytes
        name: str = "x"

    class _Item(pydantic.BaseModel):
        n: int = pydantic.Field(ge=1)

        @pydantic.field_validator("n")
        @classmethod
        def _odd(cls, n):
            if n == 4:
                raise ValueError("is four")
            return n

    class _Hangs:
        def __repr__(self):
            time.sleep(3)
            return "<late>"

    def values(tracer):
        class Text(str): pass
        tracer.result_sync({1: "a", "1": "b"}); tracer.result_sync([float("nan"), Text("t")])
        tracer.result_sync(10**5000); tracer.result_sync(_Model(raw=b"\\xff"))
        tracer.result_sync(pathlib.Path("/x")); tracer.result_sync(MagicMock())
        return [MagicMock()]

    def hangs():
        return _Hangs()

    def quick():
        return "quick"

    def huge(n: int = 10**30):
        return n

    def spelt(größe: str):
        return größe

    def nested(items: list[_Item]):
        return [item.n for item in items]
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Iterator[Koco]:
    yield koco.deploy("values", CODE, runner={"min": 2})


def test_values_arrive_as_readers_expect_them(app: Koco) -> None:
    """Nothing is lost, and what pretends to be a model costs nothing."""
    ended = app.execute("values")
    assert ended.status == "finished"
    keys, numbers, huge, model, path, mock = ended.of("result")
    assert keys == {"$pairs": [[1, "a"], ["1", "b"]], "$type": "builtins.dict"}
    assert (numbers, huge) == (["NaN", "t"], "1" + "0" * 5000)
    assert (model, path) == ({"raw": "/w==", "name": "x"}, "/x")
    assert mock["$type"] == ended.result[0]["$type"] == "unittest.mock.MagicMock"


def test_a_repr_that_takes_its_time_holds_up_its_own_execution_only(app: Koco) -> None:
    """The runner answers meanwhile, and the value comes."""
    slow = app.launch("hangs")
    assert app.execute("quick").result == "quick"
    assert app.events(slow)[-2]["payload"]["$repr"] == "<late>"


def test_a_signature_with_a_huge_default_deploys(app: Koco) -> None:
    """Its form has the number as it is."""
    assert app.execute("huge").result == 10**30


def test_a_name_in_another_spelling_is_the_same(app: Koco) -> None:
    """As a keyboard sends it that writes an umlaut as two characters."""
    assert app.execute("spelt", **{unicodedata.normalize("NFD", "größe"): "xl"}).result == "xl"


def test_nested_constraints_refuse_the_launch(app: Koco) -> None:
    """With the path; what only the author's code knows ends the execution with messages."""
    done = app.run("run", "values/nested", "-i", 'items=[{"n": 1}, {"n": 0}]')
    assert done.code == 2
    assert "[1].n: must be at least 1, got 0" in done.err
    ended = app.execute("nested", items=[{"n": 4}])
    assert (ended.status, ended.error["type"]) == ("error", "InputsError")
    assert "is four" in ended.error["message"]


def test_what_cannot_work_is_refused_before_the_deploy(koco: Koco) -> None:
    """By `validate`, by `plan`, and by whoever deploys."""
    folder = koco.project("shadowed", CODE)
    (folder / "queue.py").touch()
    for command in ("validate", "plan", "deploy"):
        done = koco.run(command, "koco.yaml", cwd=folder)
        assert (done.code, "Python's own 'queue'" in done.err) == (2, True), done.err
    (folder / "queue.py").unlink()
    (folder / "inner").mkdir()
    (folder / "koco.yaml").rename(folder / "inner/koco.yaml")
    done = koco.run("deploy", "inner/koco.yaml", cwd=folder)
    assert done.code == 2
    assert "`root: ..` ships that folder" in done.err
