"""Find what may stand at the cursor of an unfinished command line."""

from collections.abc import Iterable, Iterator
from typing import Any

from koco.cli import connection, main
from koco.cli.tab import values
from koco.cli.tab.values import Candidate


def find(words: list[str]) -> list[Candidate]:
    """Return the candidates for the last word, which may be empty."""
    # Bash splits `--flow=x` at the sign.
    *before, prefix = [word for word in words[:-1] if word != "="] + words[-1:] or [""]
    if prefix == "=":
        prefix = ""
    root = main.build()
    try:
        rest = _take_globals(root, before)
        found = _after(root, rest, prefix)
    finally:
        connection.choose(None)
        connection.choose_environment("")
    return [each for each in found if each[0].startswith(prefix) or each in values.FILES]


def _take_globals(root: Any, words: list[str]) -> list[str]:
    """Apply koco's own options, and return the words after them."""
    while words and words[0] in ("--context", "--env") and len(words) > 1:
        choose = connection.choose if words[0] == "--context" else connection.choose_environment
        choose(words[1])
        words = words[2:]
    return words


def _after(root: Any, words: list[str], prefix: str) -> Iterable[Candidate]:
    command, path = root, ""
    while isinstance(command, main.Registry):
        if not words or words[0].startswith("-"):
            return _in_group(command, words, prefix)
        inner = command.get_command(None, words[0])
        if inner is None:
            return ()
        command, path, words = inner, f"{path} {words[0]}".strip(), words[1:]
    return _in_command(command, path, words, prefix)


def _in_group(group: Any, words: list[str], prefix: str) -> Iterable[Candidate]:
    if words:
        return values.of_option(words[-1], "") if len(words) == 1 else ()
    if prefix.startswith("-"):
        return _options(group)
    names = group.list_commands(None)
    return [(name, main.first_line(group.prefix + name)) for name in names]


def _in_command(command: Any, path: str, words: list[str], prefix: str) -> Iterable[Candidate]:
    options = {name: each for each in command.params for name in _names(each)}
    if words and _takes_value(options.get(words[-1])):
        option = options[words[-1]]
        return _choices(option) or values.of_option(option.opts[0], path, option.metavar or "")
    if prefix.startswith("-"):
        return _options(command)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    given = _positionals(words, options)
    if not arguments:
        return ()
    argument = arguments[min(len(given), len(arguments) - 1)]
    if len(given) >= len(arguments) and argument.nargs == 1:
        return ()
    return _choices(argument) or values.of_argument(argument.metavar or "", path, given)


def _options(command: Any) -> Iterator[Candidate]:
    for param in command.params:
        if param.param_type_name == "option" and not getattr(param, "hidden", False):
            name = next((each for each in param.opts if each.startswith("--")), param.opts[0])
            yield name, (param.help or "").partition("\n")[0]
    yield "--help", "Show this message and exit."


def _names(param: Any) -> list[str]:
    return [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else []


def _takes_value(param: Any) -> bool:
    return param is not None and not param.is_flag and not getattr(param, "count", False)


def _positionals(words: list[str], options: dict[str, Any]) -> list[str]:
    """Return the words that are neither options nor their values."""
    found, is_value = [], False
    for word in words:
        if not is_value and not word.startswith("-"):
            found.append(word)
        is_value = not is_value and _takes_value(options.get(word))
    return found


def _choices(param: Any) -> list[Candidate]:
    found = getattr(param.type, "choices", None) or ()
    return [(str(getattr(each, "value", each)), "") for each in found]
