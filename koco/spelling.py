"""Suggest the known word that a misspelt one stands for."""

from collections.abc import Iterable

#: The longest word to look for a similar one (characters), because comparing long words is slow.
_LONGEST = 100


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that is most similar to a misspelt one, or None if none is.

    Upper and lower case are alike. `cutoff` is the least similarity, from 0 to 1.
    """
    import difflib  # only when something is misspelt: the command line must start fast

    if len(word) > _LONGEST:
        return None
    choices = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), choices, n=1, cutoff=cutoff)
    return choices[close[0]] if close else None
