"""Words of other tools, and the hints that they lead to."""

import re

import pytest

from koco.cli import main, words
from koco.cli.main import COMMANDS
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

FIELD = (
    *("stop", "kill", "tail", "events", "list", "ls", "start", "open", "describe", "get", "apply"),
    *("destroy", "dry-run", "rm", "remove", "log", "launch", "exec", "info", "inspect", "diff"),
    *(
        "publish",
        "approve",
        "contexts",
        "jobs",
        "executions",
        "services",
        "health",
        "keys",
        "users",
    ),
)


@pytest.mark.parametrize("word", FIELD)
def test_words_of_the_field_are_known(plane: Plane, cli: Cli, word: str) -> None:
    """Exit code 2, and the command that does it here."""
    ran = cli(word)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: there is no command {word!r}\nhint: `koco ")
    assert "did you mean" not in ran.err and "--help" not in ran.err


@pytest.mark.parametrize("hint", words.hints())
def test_every_hint_names_commands_and_options_that_are_there(hint: str) -> None:
    """A hint works when it is followed, and fits a terminal with its label."""
    assert len(f"hint: {hint}") <= 80
    group = main.build()
    for told in re.findall(r"`koco ([^`]+)`", hint):
        if told.startswith("--context"):
            continue
        args = told.split()
        name = " ".join(args[:2]) if " ".join(args[:2]) in COMMANDS else args[0]
        assert name in COMMANDS
        rest = args[len(name.split()) :]
        command = group.get_command(None, name.split()[0])
        if " " in name:
            command = command.get_command(None, name.split()[1])
        command.make_context(name, ["1" if each == "N" else each for each in rest])


@pytest.mark.parametrize("group", main.GROUPS)
@pytest.mark.parametrize("word", ["delete", "add", "all", "new", "remove", "ls", "rm"])
def test_words_are_known_in_groups(plane: Plane, cli: Cli, group: str, word: str) -> None:
    """The hint names the group's own command."""
    if f"{group} {word}" in COMMANDS or (word == "new" and group in ("files",)):
        pytest.skip("a command of its own")
    assert f"hint: `koco {group} " in cli(group, word).err


def test_destructive_commands_exist_and_are_listed() -> None:
    """A name in the list that no command has would guard nothing."""
    names = {name for name in words.DESTROYING if not name.startswith("-")}
    assert names <= set(COMMANDS)
    assert words.DESTROYING - names <= {name for command in COMMANDS for name in _options(command)}
    ends = ("delete", "remove", "rm", "revoke", "unset", "undeploy", "down", "cancel")
    assert {name for name in COMMANDS if name.split()[-1] in ends} <= names


def _options(name: str) -> list[str]:
    command = main.build()
    for each in name.split():
        command = command.get_command(None, each)
    return [option for param in command.params for option in (*param.opts, *param.secondary_opts)]


@pytest.mark.parametrize("name", ["undeplo", "undeploi", "context remov", "secret unse", "delte"])
def test_a_typo_of_a_destructive_command_suggests_no_other(
    plane: Plane, cli: Cli, name: str
) -> None:
    """The next best guess would be its opposite: `undeplo` led to `koco deploy`."""
    ran = cli(*name.split())
    assert ran.code == 2
    assert "did you mean" not in ran.err and "--help` lists the commands" in ran.err


@pytest.mark.parametrize("args", ["up --recover", "up --recover-admi", "deploy --prun"])
def test_a_typo_of_a_destructive_option_suggests_no_other(
    plane: Plane, cli: Cli, args: str
) -> None:
    """An admin key is not replaced by a guess, either."""
    assert (
        f"hint: `koco {args.partition(' ')[0]} --help` shows how it is used"
        in cli(*args.split()).err
    )


@pytest.mark.parametrize("name", sorted(words.DESTROYING))
def test_a_suggestion_is_never_destructive(plane: Plane, cli: Cli, name: str) -> None:
    """Not even for a name that differs in one letter."""
    typo = name[:-1] + ("x" if name[-1] != "x" else "y")
    command = ["deploy"] if name.startswith("-") else []
    ran = cli(*command, *typo.split())
    assert ran.code == 2
    assert f"`koco {name}" not in ran.err and f"mean {name}" not in ran.err


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        ("deploy --dry-run", "`koco plan` shows what a deploy would change"),
        ("run greet --title x", "is it an input? `-i title=x`"),
        ("run greet --title=x", "is it an input? `-i title=x`"),
        ("run greet --size", "is it an input? `-i size=VALUE`"),
        ("run greet title=x", "to give an input: `-i title=x`"),
        ("run greet --folow", "did you mean --follow?"),
        ("answer fid approval ok=yes", "to give an input: `-i ok=yes`"),
        ("answer fid ok=yes", "to give a value: `-i ok=yes`"),
        ("ps --output json", "`--json` prints JSON"),
        ("logs --lines 5", "did you mean --tail?"),
        ("logs --last 5", "did you mean --tail?"),
        ("logs --watch", "did you mean --follow?"),
        ("ps --lines 5", "did you mean --limit?"),
        ("show --watch", "`koco logs FID -f` follows an execution's events"),
        ("audit --tail 5", "did you mean --limit?"),
        ("files get latest out --output x", "did you mean --to?"),
        ("files get latest out --dest x", "did you mean --to?"),
    ],
)
def test_options_of_the_field_are_known(plane: Plane, cli: Cli, args: str, hint: str) -> None:
    """What is meant by an option that a command does not have."""
    ran = cli(*args.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(f"hint: {hint}\n")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("ps --limit x", "'x' is not a whole number"),
        ("ps --limit 0", "0 is not 1 or more"),
        ("logs --tail -3", "-3 is not 0 or more"),
        ("wait fid --timeout soon", "'soon' is not a number"),
    ],
)
def test_a_value_of_the_wrong_type_is_explained_in_english(
    plane: Plane, cli: Cli, args: str, told: str
) -> None:
    """The library's names of types, such as "a valid int range", say nothing."""
    assert told in cli(*args.split()).err.partition("\n")[0]


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        ("serve", "`koco up` starts koco on this machine"),
        ("serve --register http://localhost:8001/-/routes", "`koco up` starts koco"),
        ("spool --status", "`koco up` starts koco on this machine"),
        ("start", "`koco up` starts koco on this machine"),
        ("deploy --run --file config.yaml", "`koco deploy` deploys the services"),
        ("deploy -r -f config.yaml", "`koco deploy` deploys the services"),
        ("deploy --dry-run -f config.yaml", "`koco plan` shows"),
        ("deploy -d", "`koco plan` shows"),
        ("deploy --file config.yaml", "`koco init --from FILE` makes manifests"),
        ("deploy -f config.yaml", "`koco init --from FILE` makes manifests"),
        ("deploy --status", "`koco status` shows services"),
        ("deploy -s -j", "`koco status` shows services"),
        ("deploy --shutdown", "`koco undeploy SERVICE` removes a service"),
        ("deploy -x", "`koco undeploy SERVICE` removes a service"),
        ("deploy -j", "`--json` prints JSON"),
    ],
)
def test_the_commands_of_kodosumi_are_known(plane: Plane, cli: Cli, args: str, hint: str) -> None:
    """Kodosumi's command is called koco, too, so its users type them."""
    ran = cli(*args.split())
    assert (ran.code, ran.out) == (2, "")
    assert hint in ran.err.partition("hint: ")[2]


@pytest.mark.parametrize("args", ["ps -r", "logs -x", "plan -s", "ps --status x -f"])
def test_kodosumis_options_of_deploy_mean_nothing_elsewhere(
    plane: Plane, cli: Cli, args: str
) -> None:
    """Other commands use the same letters for other things."""
    told = cli(*args.split()).err.partition("hint: ")[2]
    assert not any(each in told for each in ("`koco deploy`", "undeploy", "--from", "services"))


def test_an_input_is_quoted_for_the_shell(plane: Plane, cli: Cli) -> None:
    """The hint can be copied."""
    assert "`-i 'title=a b'`" in cli("run", "greet", "--title", "a b").err
    assert "`-i 'title=a b'`" in cli("run", "greet", "title=a b").err


@pytest.mark.parametrize("name", ["", "run", "files ls", "files", "help", "run --help"])
def test_help_works_as_a_command(plane: Plane, cli: Cli, name: str) -> None:
    """`koco help COMMAND` is `koco COMMAND --help`."""
    ran = cli("help", *name.split())
    named = name.replace("help", "").replace("--", "").split()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == cli(*named, "--help").out


def test_help_of_nothing_is_an_error(plane: Plane, cli: Cli) -> None:
    """As for any other unknown command."""
    ran = cli("help", "statuss")
    assert ran.code == 2 and "did you mean `koco status`?" in ran.err


def test_version_works_as_a_command(plane: Plane, cli: Cli) -> None:
    """It prints the same as `--version`."""
    assert cli("version") == cli("--version")


@pytest.mark.parametrize(
    ("word", "status"),
    [("failed", "error"), ("Done", "finished"), ("canceled", "cancelled"), ("pending", "queued")],
)
def test_accepts_statuses_in_the_words_of_other_tools(
    plane: Plane, cli: Cli, word: str, status: str
) -> None:
    """`koco ps --status failed` means `error`; the server refuses unknown words."""
    cli("ps", "--status", word)
    assert f"status={status}" in plane.requests[-1][1]
    cli("ps", "--status", f"{word},running", "--status", "odd")
    assert f"status={status}%2Crunning%2Codd" in plane.requests[-1][1]


# SERVICE/FLOW


@pytest.mark.parametrize("command", ["logs", "show", "result", "wait"])
def test_a_flow_stands_for_its_latest_execution(plane: Plane, cli: Cli, command: str) -> None:
    """Where an execution is only looked at."""
    plane.end(plane.launch(("final", "old"), fid="old"), "finished")
    plane.end(plane.launch(("final", "new"), fid="new"), "finished")
    plane.end(plane.launch(("final", "x"), fid="other", flow="hello/other"), "finished")
    ran = cli(command, "hello/greet")
    assert ran.code == 0, ran
    assert "new" in ran.out


def test_a_flow_without_executions_is_not_found(plane: Plane, cli: Cli) -> None:
    """It is named, and no URL."""
    ran = cli("logs", "hello/greet")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("error: hello/greet has no execution\nhint: ")


@pytest.mark.parametrize("command", ["cancel", "delete", "retry", "answer", "files put"])
def test_commands_that_change_an_execution_need_its_fid(
    plane: Plane, cli: Cli, command: str
) -> None:
    """The latest of a flow may be somebody else's."""
    plane.end(plane.launch(), "finished")
    more = [__file__] if command == "files put" else []
    ran = cli(*command.split(), "hello/greet", *more)
    assert ran.code == 2
    assert "hint: `koco ps -a --flow hello/greet` lists its executions" in ran.err
