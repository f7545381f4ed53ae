"""Detection of literal keys in manifests, and `${NAME}` from the deployer's environment."""

import os

import pytest

from koco.manifest import key_literals, variables
from koco.manifest.problems import InvalidValueError


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
        ("MY_PW", "correct horse", "a password or key"),
        ("PASSPHRASE", "correct horse", "a password or key"),
        ("SMTP_PASS", "hunter2abc", "a password or key"),
        ("COOKIE", "sid=abcdefgh; auth=1", "a password or key"),
        ("D", "https://discord.com/api/webhooks/123/abc-DEF", "a Discord webhook"),
        ("T", "123456789:" + "a1B2c3D" * 5, "a Telegram bot's token"),
        ("G", "SG." + "a1B2" * 5 + "." + "c3D4" * 8, "a SendGrid key"),
        ("AZ", "AccountName=me;AccountKey=abcdef123==;E=x", "a password in a text"),
        ("PG", "host=h user=u password=hunter2", "a password in a text"),
        ("U", "https://x.org/?a=b&access_token=abcdefgh", "a password in a text"),
        ("HEXKEY", "0123456789abcdef" * 4, "a random key"),
        ("AUTH", "Basic YWRtaW46cGFzc3dvcmQ=", "a login for HTTP"),
        ("S", "https://hooks.slack.com/services/T00/B00/abcdefghij", "a Slack webhook"),
        ("X", "q7Rz1LmV0bXw9Tn4Ks8Yd2Hc6Jf3Gp5A", "a random key"),
    ],
)
def test_recognises_keys(name: str, value: str, kind: str) -> None:
    """By their beginning, by the variable's name, or by their randomness."""
    assert key_literals.classify(name, value) == kind


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GREETING", "Hello there"),
        ("SEARCH", "https://x.org/?q=password"),
        ("DSN", "host=h password=${PASSWORD}"),
        ("TIMES", "12345678:30"),
        ("COURSE", "Basic chemistry"),
        ("CACHE_KEY", "by-user-and-day"),
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
def test_ignores_other_values(name: str, value: str) -> None:
    """False warnings would make users ignore all of them."""
    assert key_literals.classify(name, value) is None


def test_finds_and_masks_literal_keys() -> None:
    """In `runtime.env` and in the values of inputs."""
    key = "sk-" + "abcdefghij" * 3
    manifest = {
        "runtime": {"env": {"A": key, "B": "b"}},
        "flows": [{"inputs": [{"type": "text", "name": "x", "value": key}]}],
    }
    found = key_literals.find_problems(manifest)
    assert [each.path for each in found] == [
        ("runtime", "env", "A"),
        ("flows", 0, "inputs", 0, "value"),
    ]
    assert "secrets: [A]" in str(found[0])
    assert key not in str(found)
    assert key_literals.mask(("runtime", "env", "A"), key) == "********"
    assert key_literals.mask(("runtime", "env"), {"A": key, "B": "b"}) == {
        "A": "********",
        "B": "b",
    }
    assert key_literals.mask(("tags",), ["a", 1]) == ["a", 1]


def test_expands_variables() -> None:
    """With defaults, and with an escape for literal text."""
    environ = {"A": "1", "EMPTY": ""}
    filled = variables.expand("${A}-${A:-x}-${B:-two}-${EMPTY:-x}-${EMPTY}-$${A}-$A-$", environ)
    assert filled == "1-1-two-x--${A}-$A-$"
    assert variables.required_names("${A}${B:-two}$${C}") == ["A"]


@pytest.mark.parametrize("value", ["${NOT_SET}", "${", "${1}", "${A B}", "x${}", "${BYTES}"])
def test_refuses_variables_that_cannot_be_expanded(value: str) -> None:
    """The message shows the syntax. Bytes that are not text cannot be sent."""
    with pytest.raises(InvalidValueError) as caught:
        variables.expand(value, {"A": "1", "BYTES": os.fsdecode(b"\xff")})
    assert caught.value.hint
