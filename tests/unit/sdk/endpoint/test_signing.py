"""Signed requests: which pass, and the errors for forged or replayed ones."""

import time
from unittest.mock import patch

import pytest

from koco.errors import UnauthorizedError
from koco.sdk.endpoint import signing
from koco.sdk.endpoint.signing import Claim, Verifier, WrongSignature, key_for, sign

KEY = key_for(b"s" * 32, "hymn", 3)


def check(headers: dict[str, str], method: str = "POST", target: str = "/a?b=1") -> Claim:
    return Verifier(KEY).verify(method, target, headers)


def signed(**more: str) -> dict[str, str]:
    return sign(KEY, "POST", "/a?b=1", body=b"{}", **more)


def test_a_signed_request_names_its_user() -> None:
    """User and execution come from the signature, whatever the user's name is."""
    claim = check(signed(user="Ädä\nx-koco-fid: other", fid="0123"))
    assert claim.user == "Ädä\nx-koco-fid: other"
    assert claim.fid == "0123"
    assert claim.digest == signing.digest_of(b"{}")


def test_each_release_has_its_own_key() -> None:
    """A request for one service or release is refused by another."""
    keys = {
        key_for(secret, service, release)
        for secret in (b"s" * 32, b"t" * 32)
        for service in ("hymn", "other")
        for release in (3, 4)
    }
    assert len(keys) == 8


@pytest.mark.parametrize("name", sorted(signing.HEADERS - {signing.SIGNATURE}))
def test_refuses_a_changed_header(name: str) -> None:
    """Each header is covered by the signature; a missing one as well."""
    headers = signed(user="ada", fid="0123")
    with pytest.raises(WrongSignature):
        check({**headers, name: headers[name] + "0"})
    del headers[name]
    with pytest.raises(WrongSignature):
        check(headers)


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/a?b=1"), ("POST", "/a?b=2"), ("POST", "/a"), ("POST", "/")]
)
def test_a_signature_covers_method_and_target(method: str, target: str) -> None:
    """Another method, path or query is another request."""
    with pytest.raises(WrongSignature):
        check(signed(), method, target)


def test_refuses_requests_without_a_signature() -> None:
    """Neither none at all, nor an empty or a foreign one; the hint says what to do."""
    for headers in ({}, {signing.USER: "ada"}, {**signed(), signing.SIGNATURE: ""}):
        with pytest.raises(UnauthorizedError, match="not signed") as caught:
            check(headers)
        assert "control plane" in str(caught.value.hint)
    with pytest.raises(WrongSignature):
        check({**signed(), signing.SIGNATURE: "é" * 64})


@pytest.mark.parametrize(("off_s", "word"), [(61, "old"), (-61, "ahead")])
def test_refuses_old_and_premature_requests(off_s: float, word: str) -> None:
    """Clocks may differ by a minute either way, and no more."""
    headers = signed()
    with patch("time.time", return_value=time.time() + off_s):
        with pytest.raises(UnauthorizedError, match=word):
            check(headers)
    with patch("time.time", return_value=time.time() + off_s * 0.95):
        check(headers)


def test_refuses_a_repeated_request() -> None:
    """Its nonce is remembered as long as its time is valid, and then forgotten."""
    verifier = Verifier(KEY)
    headers = signed()
    verifier.verify("POST", "/a?b=1", headers)
    for off_s in (0, 59):
        with patch("time.time", return_value=time.time() + off_s):
            with pytest.raises(UnauthorizedError, match="was already sent before"):
                verifier.verify("POST", "/a?b=1", headers)
    for _ in range(100):
        verifier.verify("POST", "/a?b=1", signed())
    with patch("time.time", return_value=time.time() + 300):
        verifier.verify("POST", "/a?b=1", signed())
    assert len(verifier._seen) == 1
