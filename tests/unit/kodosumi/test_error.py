"""Kodosumi's `InputsError`: messages by field, and its truth."""

import pytest

from koco.kodosumi.core import InputsError, KodosumiError


def test_collects_messages() -> None:
    """By field, in the order given; `flash` adds those of no field."""
    error = InputsError("bad", name="is empty")
    error.add(name="is short", age="is missing")
    error.flash("try again")
    assert error.args == ("bad",)
    assert error.errors == {
        "name": ["is empty", "is short"],
        "age": ["is missing"],
        "_global_": ["try again"],
    }


def test_is_true_if_it_has_messages() -> None:
    """So a handler can write `if error: raise error`."""
    error = InputsError()
    assert not error and not error.has_errors()
    error.flash("x")
    assert error and error.has_errors()
    with pytest.raises(KodosumiError):
        raise error
