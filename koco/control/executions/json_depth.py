"""How deep values may be nested.

What one request gets in, every list that shows it must get out: a value at the edge
of what the interpreter can decode would make `koco ps` fail for everybody.
"""

from typing import Any

from koco.errors import UsageError

#: Lists and objects within each other. What reads them takes a few frames of 1000 for each.
DEEPEST = 200


def check(value: Any, what: str) -> None:
    """Refuse a value that is nested too deeply; `what` says what it is.

    Raises:
        UsageError: it is.
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
        hint="send what is as deep as that as a text, or as a file",
    )
