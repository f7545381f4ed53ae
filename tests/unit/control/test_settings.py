"""Settings are read as `koco up --set` has them, and shown as it takes them."""

import msgspec
import pytest

from koco.cli.commands import status
from koco.control.settings import Settings, parse
from koco.errors import UsageError


def test_lists_are_separated_by_commas() -> None:
    """Each element is checked. An empty value resets the list."""
    values = parse(
        [
            "cors_origins=https://A.example.com, http://localhost:3000",
            "trusted_proxies=10.0.0.0/8,::1",
        ]
    )
    settings = Settings()
    settings.change(values)
    assert settings.cors_origins == ("https://a.example.com", "http://localhost:3000")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    settings.change(parse(["cors_origins="]))
    assert not settings.cors_origins


@pytest.mark.parametrize(
    "pair",
    [
        "trusted_proxies=10.0.0.1/8",
        "trusted_proxies=proxy.example.com",
        "trusted_proxies=*",
        "cors_origins=https://x.example.com/path",
        "cors_origins=null",
        "cors_origins=https://*.example.com",
        "max_event_kb=1",
        "max_streams=0",
        "hsts_s=-1",
        "max_boddy_mb=1",
    ],
)
def test_refuses_an_invalid_setting_by_name(pair: str) -> None:
    """With its value, before a control plane is asked."""
    with pytest.raises(UsageError) as refused:
        parse([pair])
    assert pair.partition("=")[0] in refused.value.message


@pytest.mark.parametrize(
    ("pair", "message", "hint"),
    [
        ("max_boddy_mb=1", "there is no setting 'max_boddy_mb'", "did you mean max_body_mb?"),
        ("xyz=1", "there is no setting 'xyz'", "settings: max_file_mb, "),
        ("max_body_mb", "--set takes NAME=VALUE, got 'max_body_mb'", ""),
        ("max_body_mb=x", "max_body_mb cannot be 'x'", "a number above 0 up to 1,000"),
        ("max_event_kb=1", "max_event_kb cannot be '1'", "a number from 4 up to 65,536"),
        ("max_streams=0", "max_streams cannot be '0'", "a whole number from 1"),
        ("api_docs=maybe", "api_docs cannot be 'maybe'", "true or false"),
    ],
)
def test_an_error_says_which_values_are_valid(pair: str, message: str, hint: str) -> None:
    """In words, not in the types of a library."""
    with pytest.raises(UsageError) as refused:
        parse([pair])
    assert message in refused.value.message
    assert (refused.value.hint or "").startswith(hint)


def test_shows_changed_settings() -> None:
    """In the form of `koco up --set`, without defaults."""
    now = Settings(max_queue=4, api_docs=True, cors_origins=("https://a", "https://b"))
    told = msgspec.json.decode(msgspec.json.encode(now))
    said = ["max_queue=4", "api_docs=true", "cors_origins=https://a,https://b"]
    assert status._changed_settings(told) == said
    assert status._changed_settings(msgspec.json.decode(msgspec.json.encode(Settings()))) == []
