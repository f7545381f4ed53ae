"""Paths with parameters, as Starlette's routes take them."""

import time

import pytest
from starlette.routing import compile_path

from koco.errors import InputsError
from koco.kodosumi.endpoint import paths

OWN = (
    *("/", "/a", "/a/{b}", "/a/{b}/c", "/a/x-{b}.txt", "/a/{b:int}", "/a/{b:float}"),
    *("/a/{b:uuid}", "/a/{b:path}", "/a/{b:path}/c", "/{b}"),
)
GIVEN = (
    *("/", "/a", "/a/", "/a/b", "/a/1", "/a/1.5", "/a/b/c", "/a/b/c/c", "/a//c", "/b", "/A/b"),
    *("/a/x-1.txt", "/a/x-.txt", "/a/.txt", "", "/a/12345678-1234-1234-1234-123456789abc"),
)


@pytest.mark.parametrize("own", OWN)
def test_agrees_with_starlette(own: str) -> None:
    """About every path."""
    pattern = compile_path(own)[0]
    found = {path: paths.takes(own, path) for path in GIVEN}
    assert found == {path: pattern.match(path) is not None for path in GIVEN}


def test_a_services_path_cannot_take_long() -> None:
    """A regular expression of it would."""
    own = "/" + "".join(f"{{p{n}}}" for n in range(30)) + "!"
    since = time.process_time()
    assert not paths.takes(own, "/" + "a" * 50_000)
    assert time.process_time() - since < 1


def test_fills_parameters_with_inputs() -> None:
    """Those of any kind."""
    assert paths.fill("/a", {}) == "/a"
    assert paths.fill("/a/{b}/{c:int}", {"b": "x y", "c": 3}) == "/a/x y/3"
    assert paths.fill("/a/{b:path}", {"b": "x/y"}) == "/a/x/y"


@pytest.mark.parametrize(
    ("own", "value"),
    [
        *[("/a/{b}", value) for value in (None, "", "x/y", "..", ".", True, ["x"], {})],
        *[("/a/{b:path}", "../x"), ("/a/{b:int}", "x")],
    ],
)
def test_refuses_inputs_that_do_not_fit(own: str, value: object) -> None:
    """By the parameter's name."""
    with pytest.raises(InputsError) as caught:
        paths.fill(own, {"b": value})
    assert list(caught.value.errors) == ["b"]


def test_names_are_unique() -> None:
    """The first path of a name keeps it."""
    given = ["/", "/svc", "/a/{b}", "/a/b", "/" + "x" * 70, "/" + "x" * 80]
    found = paths.names(given, "svc")
    assert list(found.values())[:4] == ["svc", "svc-2", "a-b", "a-b-2"]
    assert all(len(name) <= 63 for name in found.values())
    assert len(set(found.values())) == len(given)
