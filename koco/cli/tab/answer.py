"""Answer a shell that asks for completions. Whatever goes wrong, the answer is just empty."""

import re
import sys

#: What no shell takes for more than text: bash puts a candidate into the line as it is. Others name
#: flows, and a control plane need not be the one that it seems.
_PLAIN = re.compile(r"[\w@%+=:,./^-][\w@%+=:,./^~-]*")


def run(words: list[str]) -> int:
    """Print the candidates for the last word, one per line, with their descriptions."""
    try:
        # Inside, so that a broken installation is silent, too.
        from koco.cli.tab import candidates

        for value, about in candidates.find(words or [""]):
            if _PLAIN.fullmatch(value):
                text = "".join(char if char.isprintable() else " " for char in about)
                sys.stdout.write(f"{value}\t{text}\n" if text else f"{value}\n")
        sys.stdout.flush()
    except Exception:  # noqa: BLE001, S110 - an error would appear in the line being typed
        pass
    return 0
