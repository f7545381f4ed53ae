"""`kodosumi.core` has Kodosumi's public names, each loaded when it is used."""

import pytest

from koco.kodosumi import core
from koco.kodosumi.endpoint.serve_api import ServeAPI


def test_has_every_public_name() -> None:
    """Those of 1.1, and `TracerMock` of 1.2."""
    names = "Tracer TracerMock Launch ServeAPI Templates response forms InputsError KodosumiError"
    assert sorted(core.__all__) == sorted(names.split()) == sorted(core._HOMES)
    for name in core.__all__:
        assert getattr(core, name) is not None
    assert core.ServeAPI is ServeAPI
    assert core.forms.Model is not None


def test_other_names_do_not_exist() -> None:
    """With Python's own message."""
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        core.Nothing  # noqa: B018
