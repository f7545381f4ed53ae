"""The log of a process with secrets: a separate process filters all of it."""

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco import tokens
from koco.control.access import payload_checks
from koco.errors import UsageError
from koco.events import line
from koco.events.model import Kind
from koco.sdk.process.log_filter import MASK, Sieve
from koco.sdk.process.secrets import Masks


def sifted(forms: list[bytes], *pieces: bytes) -> bytes:
    sieve = Sieve(forms)
    return b"".join(sieve.pass_on(piece) for piece in pieces) + sieve.pass_on(b"", is_last=True)


@given(st.data())
def test_a_value_in_pieces_never_passes(data: st.DataObject) -> None:
    """Wherever it is cut, and whatever surrounds it; the rest passes unchanged."""
    letters = st.binary(max_size=9).map(lambda each: bytes(b"ab"[byte % 2] for byte in each))
    forms = data.draw(st.lists(letters.filter(lambda each: len(each) > 2), min_size=1, max_size=3))
    pieces = data.draw(st.lists(st.one_of(letters, st.sampled_from(forms)), max_size=8))
    passed = sifted(forms, *pieces)
    assert not any(form in passed for form in forms)
    if not any(form in b"".join(pieces) for form in forms):
        assert passed == b"".join(pieces)


def test_prefers_the_longest_value_and_holds_back_no_more_than_needed() -> None:
    """A value may be the start of another; data that cannot become one is passed on at once."""
    forms = [b"sesame", b"sesame-open"]
    assert sifted(forms, b"x sesame", b"-open y") == b"x ******** y"
    assert sifted(forms, b"x sesame", b"-closed") == b"x ********-closed"
    assert Sieve(forms).pass_on(b"all of this\n") == b"all of this\n"
    assert Sieve(forms).pass_on(b"a line ses") == b"a line "
    assert Sieve([]).pass_on(b"anything") == b"anything"


def test_values_are_found_in_base_64_and_hexadecimal() -> None:
    """Even in the middle of encoded data, for example a password after a user's name."""
    value = "correct-horse-battery"
    masks = Masks([value])
    for around in ("{}", "u{}", "us{}", "user:{}", "{}x", "user:{}!"):
        data = around.format(value).encode()
        for encoded in (
            base64.b64encode(data),
            base64.urlsafe_b64encode(data),
            data.hex().encode(),
        ):
            told = masks.text(encoded.decode())
            assert MASK.decode() in told
            assert encoded.decode()[8:24] not in told


PROGRAM = """
import ctypes, os, subprocess, sys
from koco.sdk.process import log_filter
log_filter.install([b"sesame-open"])
print("early sesame-open")
print("early sesame-open", file=sys.stderr, flush=True)
{then}
"""
CRASH = """
sys.stdout.write("in two ses"); sys.stdout.flush(); sys.stdout.write("ame-open\\n")
sys.stdout.flush()
subprocess.run(["sh", "-c", "echo sub sesame-open; echo sub sesame-open >&2"])
os.write(2, b"x" * 300_000 + b" last words sesame-open")
ctypes.string_at(0)
"""


def run(then: str, tmp_path: Path) -> tuple[int, str, str]:
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        command = [sys.executable, "-c", PROGRAM.format(then=then)]
        done = subprocess.run(command, stdout=stdout, stderr=stderr, check=False, timeout=100)
    # The filter outlives the process for a moment.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = out.read_text() + err.read_text()
        if "last" in told:
            break
        time.sleep(0.01)
    return done.returncode, out.read_text(), err.read_text()


def test_the_last_output_before_a_crash_is_kept_and_masked(tmp_path: Path) -> None:
    """All of it, even if other processes wrote it, in two pieces."""
    code, out, err = run(CRASH, tmp_path)
    assert code < 0
    assert out.splitlines() == ["early ********", "in two ********", "sub ********"]
    assert err.startswith("early ********\nsub ********\nxxx")
    assert err.endswith("x last words ********")


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """The filter ends with the last process that can write to it."""
    run("print('last')", tmp_path)
    time.sleep(0.1)
    ours = str(tmp_path / "out")
    mine = [path for path in Path("/proc").glob("[0-9]*/fd/1") if os.path.realpath(path) == ours]
    assert mine == []


# koco's own keys


def test_events_never_contain_keys() -> None:
    """Anywhere in the payload, for keys and for sessions."""
    for key in (tokens.new(), tokens.new().replace("koco_", "kocos_")):
        event = line.encode(Kind.RESULT, {"k": [f"Bearer {key}"], key: 1, "koco": "stays"})
        assert key[10:20].encode() not in event
        assert line.decode(1, event)["payload"]["koco"] == "stays"


def test_refuses_keys_as_inputs() -> None:
    """They would be stored, and shown to everybody who sees the execution."""
    for value in ({"a": [{"b": tokens.new()}]}, {tokens.new(): 1}, tokens.new()):
        with pytest.raises(UsageError, match="a key of koco") as caught:
            payload_checks.refuse(value, "the inputs")
        assert "koco secret set" in str(caught.value.hint)
    payload_checks.refuse({"a": "koco_ is how they begin"}, "the inputs")
