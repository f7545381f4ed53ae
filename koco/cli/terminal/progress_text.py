"""Progress of executions as text: a bar, a line, or a cell of a table."""

import math
from typing import Any, TypeGuard

#: The number of characters of a bar.
_BAR = 24


def brief(progress: Any) -> str:
    """Return progress in a few characters: `25%`, or the count if there is no total."""
    done, total, _ = _read(progress)
    if done is None:
        return ""
    return f"{_part(done, total):.0%}" if total else _number(done)


def plain(progress: Any) -> str | None:
    """Return progress as a line, `3/12 (25%) pages`; None if the value is not progress."""
    done, total, message = _read(progress)
    if done is None:
        return None
    text = _number(done)
    if total:
        text += f"/{_number(total)} ({_part(done, total):.0%})"
    return f"{text} {message}" if message else text


def bar(progress: Any) -> str | None:
    """Return progress as a bar, `███░░░ 3/12 (25%) pages`; None if the value is not progress."""
    done, total, _ = _read(progress)
    text = plain(progress)
    if done is None or not total:
        return text
    full = math.floor(_part(done, total) * _BAR)
    return f"{'█' * full}{'░' * (_BAR - full)} {text}"


def _read(progress: Any) -> tuple[float | None, float | None, str]:
    """Return done, total and message, as far as a value from elsewhere has them."""
    if not isinstance(progress, dict) or not _is_number(done := progress.get("done")):
        return None, None, ""
    total, message = progress.get("total"), progress.get("message")
    return done, total if _is_number(total) else None, message if isinstance(message, str) else ""


def _is_number(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= 2**53


def _part(done: float, total: float) -> float:
    """Return the part that is done, from 0 to 1. It is 1 only if all is done."""
    part = min(done / total, 1.0)
    return part if part == 1 else min(part, 0.99)


def _number(value: float) -> str:
    """Return a number without needless digits: `3`, `0.25`, `1,234`."""
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
