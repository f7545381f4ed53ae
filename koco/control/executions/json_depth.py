"""The limit on how deeply values may be nested.

The limit exists because a stored value appears in every list that shows it. If it is
so deep that the interpreter can barely decode it, `koco ps` would fail for all users.
"""

from typing import Any

from koco.errors import UsageError

#: The most lists and objects within each other. Code that reads them uses a few stack frames for
#: each level, of the 1000 that Python allows.
DEEPEST = 200


def check(value: Any, what: str) -> None:
    """Reject a value that is nested too deeply. `what` names it in the message, as a plural.

    Raises:
        UsageError: the value is nested too deeply.
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            child
            for each in level
            if isinstance(each, list | dict)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise UsageError(
        f"{what} are nested more than {DEEPEST} levels deep",
        hint="send such data as a text or as a file",
    )
