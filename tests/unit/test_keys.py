"""Literals in manifests that look like keys, and `${NAME}` from the deployer's environment."""

import os

import pytest

from koco.manifest import keys, variables
from koco.manifest.problems import Wrong


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("X", "AKIA" + "IOSFODNN7EXAMPLE", "an AWS access key"),
        ("X", "sk-" + "abcdefghij" * 3, "an OpenAI key"),
        ("X", "sk-ant-" + "abcdefghij" * 3, "an Anthropic key"),
        ("X", "ghp_" + "a1B2" * 9, "a GitHub token"),
        ("X", "koco_" + "a1B2" * 11, "a key of koco's"),
        ("DATABASE_URL", "postgresql://ada:lovelace@db/x", "a password in a URL"),
        ("X", "-----BEGIN RSA PRIVATE KEY-----\nMII", "a private key"),
        ("DB_PASSWORD", "correct horse", "a password or key"),
        ("X", "q7Rz1LmV0bXw9Tn4Ks8Yd2Hc6Jf3Gp5A", "a random key"),
    ],
)
def test_what_looks_like_a_key_is_known(name: str, value: str, kind: str) -> None:
    """By how it begins, by the variable's name, or by how random it is."""
    assert keys.kind(name, value) == kind


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GREETING", "Hello there"),
        ("MODEL", "gpt-4o-mini-2024-07-18"),
        ("COMMIT", "0123456789abcdef0123456789abcdef01234567"),
        ("ID", "6f1c1a54-57c9-4f4f-9d7e-3a1e7a7e7a11"),
        ("URL", "https://example.com/a/b?c=d"),
        ("TOKEN_FILE", "/run/secrets/token"),
        ("API_TOKEN", "/run/secrets/token"),
        ("API_KEY", "${API_KEY}"),
        ("MAX_TOKENS", "4096"),
        ("PASSWORD", "none"),
        ("CLASS", "company.departments.research.Flow"),
        ("PATHS", "/usr/local/bin:/usr/bin:/opt/Tools2/bin"),
    ],
)
def test_what_is_none_is_let_be(name: str, value: str) -> None:
    """A warning that is wrong is one that nobody reads."""
    assert keys.kind(name, value) is None


def test_a_manifests_literals_are_found_and_masked_where_they_stand() -> None:
    """In `runtime.env` and in the values of inputs."""
    key = "sk-" + "abcdefghij" * 3
    manifest = {
        "runtime": {"env": {"A": key, "B": "b"}},
        "flows": [{"inputs": [{"type": "text", "name": "x", "value": key}]}],
    }
    found = keys.find(manifest)
    assert [each.path for each in found] == [
        ("runtime", "env", "A"),
        ("flows", 0, "inputs", 0, "value"),
    ]
    assert "secrets: [A]" in str(found[0])
    assert key not in str(found)
    assert keys.masked(("runtime", "env", "A"), key) == "********"
    assert keys.masked(("runtime", "env"), {"A": key, "B": "b"}) == {"A": "********", "B": "b"}
    assert keys.masked(("tags",), ["a", 1]) == ["a", 1]


def test_variables_are_filled_in() -> None:
    """With defaults, and with a way to write the text itself."""
    environ = {"A": "1", "EMPTY": ""}
    filled = variables.expand("${A}-${A:-x}-${B:-two}-${EMPTY:-x}-${EMPTY}-$${A}-$A-$", environ)
    assert filled == "1-1-two-x--${A}-$A-$"
    assert variables.names("${A}${B:-two}$${C}") == ["A"]


@pytest.mark.parametrize("value", ["${NOT_SET}", "${", "${1}", "${A B}", "x${}", "${BYTES}"])
def test_what_cannot_be_filled_in_is_wrong(value: str) -> None:
    """And says how it is written; bytes that are no text cannot be sent."""
    with pytest.raises(Wrong) as caught:
        variables.expand(value, {"A": "1", "BYTES": os.fsdecode(b"\xff")})
    assert caught.value.hint
