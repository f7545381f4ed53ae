"""The table of commands that a Tab reads, made from the commands themselves.

Run `python -m tests.support.command_table` after a change of a command's options.
"""

import json
from pathlib import Path
from typing import Any

from koco.cli import main
from koco.cli.scaffold import templates
from koco.cli.tab import table
from koco.control.access.caller import SCOPES
from koco.control.settings import Settings
from koco.events.model import FINAL, Status


def make() -> table.Table:
    """Return the table as it should be."""
    root = main.build()
    commands: dict[str, table.Entry] = {"": _group(root, "")}
    for group in main.GROUPS:
        commands[group] = _group(root.get_command(None, group), group)
    for name in main.COMMANDS:
        command = root
        for word in name.split():
            command = command.get_command(None, word)
        commands[name] = {"options": _options(command), "arguments": _arguments(command)}
    return {
        "commands": commands,
        "statuses": {
            "open": [each.value for each in Status if each not in FINAL],
            "final": [each.value for each in Status if each in FINAL],
        },
        "settings": list(Settings.__struct_fields__),
        "scopes": list(SCOPES),
        "templates": {each.name: each.description for each in templates.bundled()},
    }


def text() -> str:
    """Return the content of its file: a line for each command, so that changes can be read."""
    made = make()
    lines = ",\n".join(
        f"{json.dumps(name)}: {_dump(entry)}" for name, entry in made["commands"].items()
    )
    rest = [f'"{key}": {_dump(value)}' for key, value in made.items() if key != "commands"]
    return '{"commands": {\n' + lines + "\n},\n" + ",\n".join(rest) + "}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _group(group: Any, name: str) -> table.Entry:
    full = f"{name} ".lstrip()
    commands = {each: main.first_line(full + each) for each in group.list_commands(None)}
    return {"options": _options(group), "commands": commands}


def _options(command: Any) -> list[table.Param]:
    return [_option(each) for each in command.params if each.param_type_name == "option"]


def _option(param: Any) -> table.Param:
    names = sorted([*param.opts, *param.secondary_opts], key=lambda name: name[:2] != "--")
    found: table.Param = {"names": names, "help": (param.help or "").partition("\n")[0]}
    if not param.is_flag and not getattr(param, "count", False):
        found["metavar"] = param.metavar or ""
    if getattr(param, "hidden", False):
        found["hidden"] = True
    return _with_choices(found, param)


def _arguments(command: Any) -> list[table.Param]:
    found: list[table.Param] = []
    for param in command.params:
        if param.param_type_name == "argument":
            made: table.Param = {"metavar": param.metavar or ""}
            if param.nargs == -1:
                made["many"] = True
            found.append(_with_choices(made, param))
    return found


def _with_choices(found: table.Param, param: Any) -> table.Param:
    if choices := getattr(param.type, "choices", None):
        found["choices"] = [str(getattr(each, "value", each)) for each in choices]
    return found


if __name__ == "__main__":
    Path(table.PATH).write_text(text(), encoding="utf-8")
