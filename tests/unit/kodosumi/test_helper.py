"""Small functions and settings that services import."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from koco.kodosumi import config, const, helper, log


class Verse(BaseModel):
    text: str


class Plain:
    def __init__(self) -> None:
        self.x = 1


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("a", {"str": "a"}),
        (True, {"bool": True}),
        ({"a": 1}, {"dict": {"a": 1}}),
        (Verse(text="x"), {"Verse": {"text": "x"}}),
        (Plain(), {"Plain": {"x": 1}}),
        (["a", Verse(text="x")], {"__list__": [{"str": "a"}, {"Verse": {"text": "x"}}]}),
        (None, {"TypeError": "None"}),
    ],
)
def test_serializes_values_in_kodosumis_shape(value: Any, shape: Any) -> None:
    """An object with the name of the value's class."""
    assert json.loads(helper.serialize(value)) == shape


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under Kodosumi's names; a setting that koco lacks is named."""
    monkeypatch.setenv("KODO_LOCK_EXPIRES", "60")
    assert config.InternalSettings().LOCK_EXPIRES == 60.0
    assert config.Settings(CHUNK_SIZE=1).CHUNK_SIZE == 1
    with pytest.raises(AttributeError, match="no setting 'SECRET_KEY'"):
        config.Settings().SECRET_KEY  # noqa: B018


def test_constants_are_kodosumis() -> None:
    """Code compares with them."""
    assert const.STATUS_END in const.STATUS_FINAL
    assert helper.now() > 1e9
    assert (log.logger.name, log.get_log_level("info")) == ("kodo", 20)


def test_the_client_has_kodosumis_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its timeout, and redirects; options replace them."""
    monkeypatch.setenv("KODO_PROXY_TIMEOUT", "7")

    async def run() -> None:
        async with helper.HTTPXClient(base_url="http://x") as client:
            assert client.timeout.read == 7 and client.follow_redirects
            assert str(client.base_url) == "http://x"
        async with helper.HTTPXClient(timeout=1, follow_redirects=False) as client:
            assert client.timeout.read == 1 and not client.follow_redirects
        assert client.is_closed

    asyncio.run(run())
