"""Redirects to the storage of files, which is not trusted more than a control plane is."""

import pytest

from koco.client.exchange import redirects
from koco.errors import AnswerError


@pytest.mark.parametrize(
    ("location", "of", "said"),
    [
        ("http://storage/x", "https://koco.example.com", "without TLS"),
        ("file:///etc/passwd", "http://koco", "not a URL"),
        ("/v1/other", "http://koco", "not a URL"),
        ("http://user:password@storage/x", "http://koco", "not a URL"),
        ("http://storage:port/x", "http://koco", "not a URL"),
    ],
)
def test_refuses_other_places(location: str, of: str, said: str) -> None:
    """Neither files of this machine, nor a way that others can read."""
    with pytest.raises(AnswerError, match=said) as caught:
        redirects.place(location, of=of)
    assert "password" not in caught.value.message


def test_names_the_server_without_the_signature() -> None:
    place = redirects.place("https://storage:9000/b/k?X-Amz-Signature=1", of="https://koco")
    assert place == "https://storage:9000"
