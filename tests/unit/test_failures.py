"""What a user's code raised, as an `error` payload that anything can carry."""

import json

from koco.sdk.failures import describe


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")


def test_a_message_without_end_is_cut_in_its_middle() -> None:
    """Message and traceback keep their beginning and end, and say how much is missing."""
    found = describe(ValueError("a" * 10_000_000 + "z"))
    assert len(json.dumps(found)) < 200_000
    assert found["message"].startswith("aaa")
    assert found["message"].endswith("z")
    assert "9,934,465 characters cut" in found["message"]


def test_a_message_may_be_no_unicode_or_raise() -> None:
    """Surrogates are escaped, and a `__str__` that fails is told."""
    assert describe(ValueError("\ud800"))["message"] == "\\ud800"
    assert describe(MuteError())["message"] == "<its str raised RuntimeError>"
