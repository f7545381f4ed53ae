"""Settings are read as `koco up --set` has them, and shown as it takes them."""

import msgspec
import pytest

from koco.cli import status
from koco.control.settings import Settings, parsed
from koco.errors import UsageError


def test_lists_are_parted_by_commas() -> None:
    """Each of them checked; none takes back what was set."""
    values = parsed(
        [
            "cors_origins=https://A.example.com, http://localhost:3000",
            "trusted_proxies=10.0.0.0/8,::1",
        ]
    )
    settings = Settings()
    settings.change(values)
    assert settings.cors_origins == ("https://a.example.com", "http://localhost:3000")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    settings.change(parsed(["cors_origins="]))
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
def test_what_makes_no_sense_is_refused_by_its_name(pair: str) -> None:
    """With the value, before anything is asked of a control plane."""
    with pytest.raises(UsageError) as refused:
        parsed([pair])
    assert pair.partition("=")[0] in refused.value.message


def test_status_shows_what_was_set() -> None:
    """In the words of `koco up --set`, and nothing of what is as it comes."""
    now = Settings(max_queue=4, cors_origins=("https://a", "https://b"))
    told = msgspec.json.decode(msgspec.json.encode(now))
    assert status._set(told) == ["max_queue=4", "cors_origins=https://a,https://b"]
    assert status._set(msgspec.json.decode(msgspec.json.encode(Settings()))) == []
