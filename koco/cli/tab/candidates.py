"""Find what may stand at the cursor of an unfinished command line."""

import itertools
from collections.abc import Iterable, Iterator

from koco.cli.tab import table, values
from koco.cli.tab.table import Entry, Param, Table
from koco.cli.tab.values import Candidate, Values


def find(words: list[str]) -> list[Candidate]:
    """Return the candidates for the last word, which may be empty."""
    # Bash splits `--flow=x` at the sign.
    *before, prefix = [word for word in words[:-1] if word != "="] + words[-1:] or [""]
    if prefix == "=":
        prefix = ""
    known = table.read()
    context, rest = _take("--context", before)
    env, rest = _take("--env", rest)
    if context is None:
        context, rest = _take("--context", rest)
    # Some commands have `--env` as well.
    env = env or next((after for name, after in itertools.pairwise(rest) if name == "--env"), None)
    found = _after(known, rest, prefix, Values(known, context, env))
    return [each for each in found if each[0].startswith(prefix) or each in values.FILES]


def _take(option: str, words: list[str]) -> tuple[str | None, list[str]]:
    """Return the value of an option of koco itself, and the words after it."""
    return (words[1], words[2:]) if words[:1] == [option] and len(words) > 1 else (None, words)


def _after(known: Table, words: list[str], prefix: str, found: Values) -> Iterable[Candidate]:
    path, entry = "", known["commands"][""]
    while "commands" in entry:
        if not words or words[0].startswith("-"):
            return _in_group(entry, words, prefix, found)
        if words[0] not in entry["commands"]:
            return ()
        path, words = f"{path} {words[0]}".strip(), words[1:]
        entry = known["commands"][path]
    return _in_command(entry, path, words, prefix, found)


def _in_group(group: Entry, words: list[str], prefix: str, found: Values) -> Iterable[Candidate]:
    if words:
        return found.of_option(words[-1], "") if len(words) == 1 else ()
    if prefix.startswith("-"):
        return _options(group)
    return group["commands"].items()


def _in_command(
    command: Entry, path: str, words: list[str], prefix: str, found: Values
) -> Iterable[Candidate]:
    options = {name: each for each in command["options"] for name in each["names"]}
    if words and "metavar" in (option := options.get(words[-1], Param())):
        return _choices(option) or found.of_option(option["names"][0], path, option["metavar"])
    if prefix.startswith("-"):
        return _options(command)
    arguments = command["arguments"]
    given = _positionals(words, options)
    if not arguments:
        return ()
    argument = arguments[min(len(given), len(arguments) - 1)]
    if len(given) >= len(arguments) and not argument.get("many"):
        return ()
    return _choices(argument) or found.of_argument(argument["metavar"], path, given)


def _options(entry: Entry) -> Iterator[Candidate]:
    for option in entry["options"]:
        if not option.get("hidden"):
            yield option["names"][0], option.get("help", "")
    yield "--help", "Show this message and exit."


def _positionals(words: list[str], options: dict[str, Param]) -> list[str]:
    """Return the words that are neither options nor their values."""
    found, is_value = [], False
    for word in words:
        if not is_value and not word.startswith("-"):
            found.append(word)
        is_value = not is_value and "metavar" in options.get(word, ())
    return found


def _choices(param: Param) -> list[Candidate]:
    return [(each, "") for each in param.get("choices", ())]
