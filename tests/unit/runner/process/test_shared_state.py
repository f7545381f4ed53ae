"""A flow's changes to the interpreter are undone before the next flow runs."""

import builtins
import json
import logging
import operator
import os
import resource
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest

from koco.runner.process.shared_state import Shared


def test_restores_builtins_and_clocks() -> None:
    """A replaced builtin, a stopped clock and a deleted one are restored."""
    shared, real, clock = Shared(), builtins.open, time.time
    builtins.open = None  # type: ignore[assignment]
    time.time = lambda: 0.0
    del time.monotonic
    assert shared.restore(is_alone=True)
    assert (builtins.open, time.time) == (real, clock)
    assert time.monotonic() > 0


def test_restores_what_it_works_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what says that two things are the same is gone, or says so of all."""
    shared, names = Shared(), ("all", "map", "len")
    kept = {name: vars(builtins)[name] for name in names}
    with monkeypatch.context() as changed:
        changed.setattr(operator, "is_", lambda one, other: True)
        changed.setattr(builtins, "len", _Equal())
        changed.delattr(builtins, "map")
        changed.setattr(builtins, "all", lambda values: True)
        assert shared.restore(is_alone=True)
        found = {name: vars(builtins).get(name) for name in names}
    assert [name for name in names if found[name] is not kept[name]] == []


class _Equal:
    """What says that it equals everything."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


def test_keeps_wrappers_of_libraries() -> None:
    """Instrumentation that wraps a function stays; a name that cannot be called is restored."""
    shared, dumps, loads = Shared(), json.dumps, json.loads

    def wrapped(*args: object, **more: object) -> str:
        return dumps(*args, **more)  # type: ignore[arg-type]

    json.dumps, json.loads = wrapped, None  # type: ignore[assignment]
    try:
        assert shared.restore(is_alone=True)
        assert json.dumps is wrapped
        assert json.loads is loads
    finally:
        json.dumps = dumps


def test_restores_removed_modules() -> None:
    """A module of the standard library is the same that koco has, not a second copy of it."""
    shared, module = Shared(), sys.modules["threading"]
    del sys.modules["threading"]
    assert shared.restore(is_alone=True)
    assert sys.modules["threading"] is module is threading


def test_restores_limits_if_nothing_else_runs(tmp_path: Path) -> None:
    """Recursion, warnings, logging, folder, files; a neighbour that relies on a limit keeps it."""
    shared = Shared()
    depth, home, files = sys.getrecursionlimit(), Path.cwd(), resource.RLIMIT_NOFILE
    soft, hard = resource.getrlimit(files)
    with warnings.catch_warnings():
        sys.setrecursionlimit(depth + 1000)
        warnings.simplefilter("error")
        logging.disable(logging.CRITICAL)
        os.chdir(tmp_path)
        resource.setrlimit(files, (soft - 1, hard))
        try:
            assert shared.restore(is_alone=False)
            assert (sys.getrecursionlimit(), Path.cwd()) == (depth + 1000, tmp_path)
            assert shared.restore(is_alone=True)
            assert (sys.getrecursionlimit(), Path.cwd()) == (depth, home)
            assert resource.getrlimit(files) == (soft, hard)
            assert logging.getLogger().isEnabledFor(logging.CRITICAL)
        finally:
            logging.disable(logging.NOTSET)
            os.chdir(home)
            sys.setrecursionlimit(depth)


def test_reports_changes_that_cannot_be_undone() -> None:
    """Without privileges a hard limit stays low: the process must not be reused."""
    code = """
        import os, resource
        from koco.runner.process.shared_state import Shared
        shared = Shared()
        if not os.getuid():
            os.setuid(65_534)  # root may raise a hard limit again
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        assert shared.restore(is_alone=True) is False
"""
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
