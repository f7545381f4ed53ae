"""English that depends on a number: `1 file is`, `2 files are`."""

_MANY = {"is": "are", "has": "have", "does": "do", "process": "processes", "retry": "retries"}


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return a number with its noun, and optionally a verb: `counted(2, "file", "is")`.

    Give the noun in the singular and the verb in the third person.
    """
    words = [str(number), plural(number, noun), *([verbal(number, verb)] if verb else [])]
    return " ".join(words)


def plural(number: int, noun: str) -> str:
    """Return a noun, or the last of several words, in the form for a number."""
    if number == 1:
        return noun
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_MANY.get(last, f'{last}s')}"


def verbal(number: int, verb: str) -> str:
    """Return a verb in the form for a number."""
    return verb if number == 1 else _MANY.get(verb, verb.removesuffix("s"))
