"""Events in Kodosumi's shape."""

from typing import Any

import pytest

from koco.api.kodosumi.shapes import events

ORDINARY = 'Traceback …\n  File "a.py", line 1\nValueError: no\nsecond line\nhint: h'
KILLED = 'Traceback …\n  File "a.py", line 46, in run'


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"type": "ValueError", "message": "no\nsecond line", "traceback": ORDINARY}, ORDINARY),
        (
            {"type": "RunnerDied", "message": "by SIGABRT", "traceback": KILLED},
            f"{KILLED}\nRunnerDied: by SIGABRT",
        ),
        ({"type": "Empty", "message": "", "traceback": KILLED}, f"{KILLED}\nEmpty"),
        ({"type": "TimedOut", "message": "after 5 s", "traceback": ""}, "TimedOut: after 5 s"),
    ],
)
def test_an_error_names_its_cause(error: dict[str, Any], text: str) -> None:
    """The message follows the traceback if that does not have it: its process had died."""
    translator = events.Translator(None)  # type: ignore[arg-type] - only `meta` events need it
    event = {"kind": "error", "payload": error, "ts": "2026-01-01T00:00:00.000000Z"}
    assert translator.translate(event) == text
