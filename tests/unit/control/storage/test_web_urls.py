"""URLs of users are checked and made ASCII."""

import pytest

from koco.control.storage import web_urls
from koco.control.storage.web_urls import DownloadError


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://a b/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1/\n",
        "ftp://127.0.0.1/",
        "http://127.0.0.1/" + "x" * 5000,
        "http://ä..ö/",
    ],
)
def test_odd_urls_are_refused(url: str) -> None:
    with pytest.raises(DownloadError):
        web_urls.check(url)
        web_urls.encode(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", "http://h/"),
        ("HTTPS://H:8443/a b?x=ä#part", "https://h:8443/a%20b?x=%C3%A4"),
        ("http://bücher.example/a%20b", "http://xn--bcher-kva.example/a%20b"),
        ("http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1/"),
        ("http://[2001:db8::1]:80/", "http://[2001:db8::1]:80/"),
    ],
)
def test_urls_are_made_ascii(url: str, expected: str) -> None:
    """Their fragment is not sent."""
    assert web_urls.encode(url) == expected
