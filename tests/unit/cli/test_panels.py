"""The groups of `koco --help`."""

import re
from collections import Counter

from koco.cli import main, panels
from tests.unit.conftest import Cli

NAMES = list(dict.fromkeys(name.partition(" ")[0] for name in main.COMMANDS))


def test_every_command_has_one_panel() -> None:
    """None is left to the rest, and none is listed twice."""
    count = Counter(name for panel in panels.PANELS.values() for name in panel)
    assert [name for name in NAMES if count[name] != 1] == []
    assert panels.REST not in panels.sort(NAMES)


def test_the_help_has_a_full_line_for_each_command(cli: Cli) -> None:
    """At 80 columns nothing is cut off or wrapped, and the panels are in order."""
    told = cli("--help").out
    titles = re.findall(r"^([A-Z][a-z]+):$", told, re.M)
    assert titles[-len(panels.PANELS) :] == list(panels.PANELS)
    for name in NAMES:
        line = main.COMMANDS.get(name) or main.GROUPS[name].partition("\n")[0]
        assert re.search(rf"^  {name} +{re.escape(line)}$", told, re.M), name
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80


def test_a_command_without_a_panel_is_listed_all_the_same() -> None:
    """A new one is never hidden."""
    assert panels.sort(["up", "novel"]) == {"Start": ["up"], panels.REST: ["novel"]}
