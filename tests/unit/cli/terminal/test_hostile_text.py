"""Attacks on terminals: names and texts of others are shown and never obeyed."""

import json
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.support.memory_plane import LATER, STATUS, TS, Plane
from tests.unit.conftest import Cli

#: A title, a cleared screen, a link, the clipboard, a C1 control, a carriage return, a bell,
#: text that runs the other way, and the end of the line.
EVIL = (
    "\x1b]0;title\x07\x1b[2J\x1b]8;;http://evil.test\x1b\\link\x1b]8;;\x1b\\\x1b]52;c;ZXZpbA==\x07"
    "\x9b31m\x90q\x9c\x85\r\x07\x08\x7f\u202eevil\u202c\u2066\u2069\u200f\x1bc"
)
#: What koco itself says to a terminal: colours, nothing else.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: What a terminal obeys, or what turns text around: not the marks U+200E and U+200F, which are
#: part of texts in Arabic and Hebrew and do no more than a letter of those.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_MANY = """
import json, sys
from koco.cli import main
for args in json.loads(sys.argv[1]):
    main.run(args)
    sys.stdout.flush()
"""


def shown(*commands: list[str]) -> str:
    """Run commands, one after the other, on one terminal; return what it was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _MANY, json.dumps(commands)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    process.wait(20)
    return b"".join(pieces).decode().replace("\r\n", "\n")


@pytest.fixture
def hostile(plane: Plane) -> Plane:
    """Return a plane where everybody who has named or said anything is hostile."""
    plane.launch(
        ("meta", {"flow": EVIL, EVIL: EVIL}),
        ("inputs", {EVIL: EVIL}),
        ("status", {"status": "running"}),
        ("agent", {"name": EVIL, "text": EVIL}),
        ("debug", EVIL),
        ("stdout", EVIL),
        ("stderr", EVIL),
        ("upload", {"path": EVIL, "size_bytes": 1, "by": EVIL}),
        ("action", {"name": EVIL, EVIL: EVIL}),
        ("result", {"type": "html", "body": f"<b>{EVIL}</b>"}),
        ("result", {"type": "markdown", "body": f"# {EVIL}\n[{EVIL}]({EVIL})\n```\n{EVIL}\n```"}),
        ("error", {"type": EVIL, "message": EVIL, "traceback": f"{EVIL}\n{EVIL}"}),
        ("status", {"status": "error"}),
        fid="evil",
        user=EVIL,
        tags=[EVIL],
        inputs={EVIL: EVIL},
        waits=EVIL,
        error={"type": EVIL, "message": EVIL},
    )
    asking = plane.launch(("status", {"status": "running"}), fid="asks", user=EVIL, flow=EVIL)
    form = [{"type": "markdown", "text": EVIL}, {"type": "text", "name": "x", "label": EVIL}]
    plane.lock(asking, EVIL, {EVIL: EVIL}, form=form)
    entry = {"seq": 1, "ts": TS, "detail": {EVIL: [EVIL]}}
    names = ("who", "credential", "action", "target", "outcome", "address", "request")
    plane.audit = [entry | dict.fromkeys(names, EVIL)]
    plane.status = json.loads(json.dumps(STATUS))
    service = plane.status["services"][0]
    service |= {"name": EVIL, "trouble": EVIL, "flows": [EVIL]}
    plane.status["store"]["path"] = EVIL
    plane.status["ray"]["nodes"][0] |= {"labels": {EVIL: EVIL}, "resources": {EVIL: 1.0}}
    plane.findings = [{"name": EVIL, "status": "warning", "message": EVIL, "hint": EVIL}]
    plane.flows["evil"] = {
        **plane.flows["greet"],
        **{"name": "hello/evil", "short": "evil", "summary": EVIL, "description": EVIL},
        **{"tags": [EVIL], "entrypoint": EVIL, "form": form},
    }
    plane.history = [release(error={"message": EVIL, "hint": EVIL, "detail": EVIL})]
    return plane


def release(**facts: Any) -> dict[str, Any]:
    usual = {"service": "hello", "number": 1, "status": "failed", "bundle": "ab", "created": TS}
    more = {"ready": None, "by": EVIL, "origin": {"project": EVIL, "commit": EVIL}}
    rest = {"available": True, "timings": {}, "fallback": True, "retired": LATER}
    return {**usual, **more, **rest, **facts}


def test_the_terminal_obeys_no_text_from_others(hostile: Plane) -> None:
    """All that shows names, texts and errors of others; koco's own colours are all there is."""
    text = shown(
        ["logs", "evil"],
        ["ps", "-a"],
        ["show", "evil"],
        ["result", "evil"],
        ["inbox"],
        ["show", "asks"],
        ["audit"],
        ["status"],
        ["doctor"],
        ["flows"],
        ["flows", "evil"],
        ["releases", "hello"],
        ["show", EVIL],
        [EVIL],
        ["run", EVIL],
        ["files", "ls", EVIL],
    )
    assert "this is a bug" not in text
    assert text.count("evil") > 40
    obeyed = _OBEYED.findall(_COLOURS.sub("", text))
    assert obeyed == []


def test_errors_of_the_control_plane_are_shown_harmlessly(hostile: Plane) -> None:
    """Its messages have others' names in them."""
    from koco.errors import ConflictError

    hostile.refuses = ConflictError(EVIL, hint=EVIL)
    text = shown(["ps"], ["logs", "evil"], ["ps", "--json"])
    assert text.count("evil") >= 3
    assert _OBEYED.findall(_COLOURS.sub("", text)) == []


def test_json_is_exact_whoever_reads_it(hostile: Plane, cli: Cli) -> None:
    """For programs, nothing is made harmless; on a terminal it is escaped, and means the same."""
    items = json.loads(cli("ps", "-a", "--json").out)["items"]
    [found] = [item for item in items if item["fid"] == "evil"]
    assert found["user"] == EVIL
    assert found["tags"] == [EVIL]
    text = shown(["show", "evil", "--json"])
    assert _OBEYED.findall(text) == []
    assert json.loads(text)["user"] == EVIL
    assert json.loads(cli("audit", "--json").out)["items"][0]["who"] == EVIL
