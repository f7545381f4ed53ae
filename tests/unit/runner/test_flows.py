"""The entrypoints that a service's endpoint orders."""

from pathlib import Path

import pytest

from koco.runner.flows import Orders


def test_a_failed_import_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its execution fails with the import's error, which a warm runner does not keep."""
    monkeypatch.syspath_prepend(str(tmp_path))
    there = tmp_path / "there"
    code = f"import pathlib; pathlib.Path({str(there)!r}).read_text()\ndef run(): return 1\n"
    (tmp_path / "late_flow.py").write_text(code)
    orders = Orders()
    with pytest.raises(FileNotFoundError):
        orders.flow("late", "late_flow:run").entrypoint(inputs={})
    there.touch()
    flow = orders.flow("late", "late_flow:run")
    assert flow.entrypoint() == 1
    assert orders.flow("late", "late_flow:run") is flow
