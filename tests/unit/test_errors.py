"""The tree of errors in `koco.errors`."""

import inspect
import re

from koco import errors
from koco.errors import KocoError

Row = tuple[str, str, int, int]


def parse_tree(docstring: str) -> list[Row]:
    """Return the tree's rows as (class, base class, exit code, HTTP status), in order."""
    rows: list[Row] = []
    bases: dict[int, str] = {}
    for line in docstring.splitlines():
        found = re.match(r"    (?P<branch>[│├└─ ]*)(?P<name>\w+) +(\d+) +(\d+)  ", line)
        if found:
            depth = len(found["branch"]) // 4
            bases[depth] = found["name"]
            rows.append((found["name"], bases.get(depth - 1, ""), int(found[3]), int(found[4])))
    return rows


def test_docstring_tree_matches_the_classes() -> None:
    """Every public class of the module, below its base, in the order of the source."""
    defined = [
        (each.__name__, public_base(each), each.exit_code, each.http_status)
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, KocoError) and is_public(each)
    ]
    order = re.findall(r"^class (\w+)", inspect.getsource(errors), re.M)
    rows = parse_tree(errors.__doc__ or "")
    assert sorted(rows) == sorted(defined)
    assert [name for name, *_ in rows] == [name for name in order if not name.startswith("_")]


def is_public(cls: type) -> bool:
    return not cls.__name__.startswith("_")


def public_base(cls: type) -> str:
    """Return the name of the nearest public base class; empty for the root."""
    bases = [each for each in cls.__mro__[1:] if issubclass(each, KocoError) and is_public(each)]
    return bases[0].__name__ if bases else ""
