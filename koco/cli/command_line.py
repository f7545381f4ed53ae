"""Read a command line that is right, as typer would, without importing typer.

It declines whatever is not plain: help, errors, several short options in one word, paths, choices.
Then typer reads the line. A test compares both over all commands.
"""

from collections.abc import Callable, Collection
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin

from koco.cli import catalog
from koco.cli.parameters import Argument, Parameter

#: The types of values that are converted here. A path is checked by typer.
_KINDS: dict[Any, Callable[[str], Any]] = {str: str, int: int, float: float}

#: The options before the command.
_GLOBAL = ("--context", "--env")


class Line(NamedTuple):
    """A command's function, and the values of the parameters that are given."""

    function: Callable[..., Any]
    values: dict[str, Any]
    context: str | None
    env: str | None


class _Declined(Exception):  # noqa: N818 - it is no error
    """Raised if the line is for typer."""


def read(args: list[str], names: Collection[str]) -> Line | None:
    """Return what a command line says, or None if typer must read it.

    `names` are those of all commands.
    """
    given: dict[str, str] = {}
    rest = list(args)
    while len(rest) > 1 and rest[0] in _GLOBAL:
        given[rest[0]] = rest[1]
        del rest[:2]
    count = 2 if " ".join(rest[:2]) in names else 1
    name = " ".join(rest[:count])
    if name not in names or any(each.startswith("-") for each in given.values()):
        return None
    function = catalog.load(name)
    try:
        values = _Reader(function).read(rest[count:])
    except _Declined:
        return None
    return Line(function, values, given.get("--context"), given.get("--env"))


class _Parameter:
    """A parameter of a command's function."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        declared: Parameter = annotation.__metadata__[0]
        kind = annotation.__origin__
        if isinstance(kind, UnionType):
            members = [each for each in get_args(kind) if each is not NoneType]
            kind = members[0] if len(members) == 1 else kind
        self.name = name
        self.is_list = get_origin(kind) is list
        self.kind = get_args(kind)[0] if self.is_list else kind
        self.is_argument = isinstance(declared, Argument)
        self.default = default
        self.least, self.most = declared.options.get("min"), declared.options.get("max")
        self.names = declared.names or (f"--{name.replace('_', '-')}",)
        if self.is_flag and (not declared.names or default not in (True, False)):
            raise _Declined  # it has a second name that turns it off

    @property
    def is_flag(self) -> bool:
        return self.kind is bool

    def convert(self, text: str) -> Any:
        if self.kind not in _KINDS:
            raise _Declined
        try:
            value = _KINDS[self.kind](text)
        except ValueError:
            raise _Declined from None
        is_low = self.least is not None and value < self.least
        if is_low or (self.most is not None and value > self.most):
            raise _Declined
        return value


#: Stands for the default of a parameter that must be given.
_NO_DEFAULT = object()


class _Reader:
    """Reads the line of one command."""

    def __init__(self, function: Callable[..., Any]) -> None:
        code: Any = function.__code__
        names = code.co_varnames[: code.co_argcount]
        defaults: tuple[Any, ...] = function.__defaults__ or ()
        defaults = (_NO_DEFAULT,) * (len(names) - len(defaults)) + defaults
        self._all = [
            _Parameter(name, function.__annotations__[name], default)
            for name, default in zip(names, defaults, strict=True)
        ]
        options = [each for each in self._all if not each.is_argument]
        self._options = {name: each for each in options for name in each.names}
        self._values: dict[str, Any] = {}

    def read(self, args: list[str]) -> dict[str, Any]:
        rest, words = list(args), []
        while rest:
            word = rest.pop(0)
            if word == "--":
                words += rest
                break
            if word.startswith("-") and word != "-":
                self._take(word, rest)
            else:
                words.append(word)
        self._place(words)
        if any(each.default is _NO_DEFAULT and each.name not in self._values for each in self._all):
            raise _Declined
        return self._values

    def _take(self, word: str, rest: list[str]) -> None:
        """Read an option, and its value."""
        name, equals, text = word.partition("=") if word.startswith("--") else (word, "", "")
        if (option := self._options.get(name)) is None or (option.is_flag and equals):
            raise _Declined
        if option.is_flag:
            self._values[option.name] = not option.default
            return
        if not equals:
            if not rest or (rest[0].startswith("-") and rest[0] != "-"):
                raise _Declined
            text = rest.pop(0)
        self._set(option, text)

    def _place(self, words: list[str]) -> None:
        """Read the arguments."""
        arguments = [each for each in self._all if each.is_argument]
        for at, argument in enumerate(arguments):
            if argument.is_list and at < len(arguments) - 1:
                raise _Declined
            while words:
                self._set(argument, words.pop(0))
                if not argument.is_list:
                    break
        if words:
            raise _Declined

    def _set(self, parameter: _Parameter, text: str) -> None:
        value = parameter.convert(text)
        if parameter.is_list:
            self._values.setdefault(parameter.name, []).append(value)
        else:
            self._values[parameter.name] = value
