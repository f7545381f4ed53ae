"""Words from other tools that users type instead of koco's commands and options.

A word in these tables has its own hint. For any other word, the nearest name is suggested. A
suggestion is never a destructive command, because users may follow it without reading its help.
"""

from collections.abc import Iterable

from koco.spelling import nearest

#: Commands that remove something permanently, or take it from others. They are never suggested.
DESTROYING = frozenset(
    {
        *("down", "undeploy", "cancel", "delete"),
        *(
            "files rm",
            "secret unset",
            "config unset",
            "key revoke",
            "key rotate",
            "user disable",
            "user remove",
            "webhook remove",
            "context remove",
        ),
        *("--prune", "--force", "--yes", "--cancel", "--no-rollback-on-failure", "--recover-admin"),
    }
)

#: The similarity (0 to 1) of names that are alike, and of names that are surely the same.
_ALIKE, _SAME = 0.7, 0.8

_CANCEL = "`koco cancel FID` ends an execution, `koco down` koco on this machine"
_REMOVE = "`koco delete FID` removes an execution, `koco undeploy SERVICE` a service"
_FOLLOW = "`koco logs FID -f` follows an execution's events"
_EVENTS = "`koco logs FID` shows an execution's events, --json as JSON"
_LIST = "`koco ps` lists executions, `koco flows` flows, `koco status` services"
_RUN = "`koco run FLOW` launches a flow"
_SHOW = "`koco show FID` shows an execution, `koco flows FLOW` a flow"
_DEPLOY = "`koco deploy` deploys the services of this project"
_PLAN = "`koco plan` shows what a deploy would change"
_ANSWER = "`koco inbox` lists locks that wait, `koco answer FID` answers them"
_CONTEXT = "`koco context use NAME` selects one, `koco context list` lists them"
_HEALTH = "`koco doctor` checks everything, `koco status` shows what is running"
_FILES = "`koco files ls FID` lists files, `koco files get FID PATH` downloads"

#: Hints for words that are not commands, by the words of all commands.
_COMMANDS = {
    _CANCEL: "stop kill abort terminate halt end shutdown",
    _REMOVE: "rm remove del destroy erase purge prune uninstall teardown",
    _FOLLOW: "tail follow watch attach",
    _EVENTS: "events event log stdout output-log",
    _LIST: "list ls",
    "`koco ps -a` lists executions": "jobs runs executions history queue tasks",
    "`koco status` shows services, `koco flows` lists flows": "services apps deployments",
    "`koco run FLOW` launches a flow, `koco up` starts koco on this machine": "start",
    "`koco up` starts koco on this machine, `koco deploy` deploys services": "serve spool",
    _RUN: "launch invoke exec execute call trigger submit",
    "`koco retry FID` launches an ended execution again": "rerun restart redo",
    "`koco resume FID` keeps the recorded steps, `koco retry FID` starts afresh": "replay continue",
    "`koco send FID NAME` sends a message to an execution": "signal message notify event-send",
    _SHOW: "describe get inspect info view",
    "`koco status` shows the URL at which the control plane answers": "open url dashboard ui",
    _DEPLOY: "apply push publish ship release update upgrade",
    _PLAN: "diff preview dry-run dryrun",
    "`koco validate` checks manifests": "check lint test",
    "`koco init NAME` creates a project": "new create scaffold",
    "`koco rollback SERVICE` goes back to an earlier release": "undo revert",
    "`koco result FID` prints an execution's result": "output return",
    "`koco stack FID` shows an execution's current stacks": "trace debug dump threads",
    _ANSWER: "approve reject approvals locks",
    _CONTEXT: "contexts profile use switch target",
    "`koco context show` shows the control plane and the key in use": "whoami me",
    "`koco login URL` adds a control plane": "signin auth connect",
    "`koco logout` ends a session": "signout",
    _HEALTH: "ping health",
    _FILES: "cp download upload file artifacts",
    "`koco schedule list` lists schedules": "schedules cron",
    "`koco key list` lists keys": "keys token tokens",
    "`koco user list` lists users": "users",
    "`koco secret list` lists secrets": "secrets env vars",
    "`koco config list` lists the control plane's settings": "settings setting configure options",
    "`koco backup FILE` writes a backup, `koco up --restore FILE` reads it": "restore snapshot",
    "`koco limits FLOW --running N` changes how many run at once": "scale throttle limit",
    "`koco export FID --to DIR` writes all of an execution into a folder": "archive save",
    "`koco schema` prints the JSON Schema of manifests": "spec",
}

_SET = "`koco secret set NAME` sets a secret"
_NAMES = "ls get show all"

#: The same within groups.
_OF_GROUPS = {
    "files": {
        "`koco files ls FID` lists files": "list show all",
        "`koco files get FID PATH` downloads files": "download fetch pull cat cp",
        "`koco files put FID PATH` uploads files": "upload push add",
        "`koco files rm FID PATH` removes files": "remove delete del unlink",
    },
    "secret": {
        "`koco secret list` lists secrets, never their values": f"{_NAMES} value",
        _SET: "add create put new update import",
        "`koco secret unset NAME` removes a secret": "rm remove delete del",
    },
    "key": {
        "`koco key list` lists keys; secrets are shown only once": _NAMES,
        "`koco key create NAME` creates a key": "add new generate",
        "`koco key revoke NAME` revokes a key": "rm remove delete del",
        "`koco key rotate NAME` gives a key a new secret": "renew roll",
    },
    "user": {
        "`koco user list` lists users": _NAMES,
        "`koco user create NAME` creates a user": "add new invite",
        "`koco user update NAME` changes a user": "edit modify change",
        "`koco user disable NAME` keeps a user from logging in": "deactivate lock suspend block",
        "`koco user enable NAME` lets a user log in again": "activate unlock reactivate",
        "`koco user remove NAME` removes a user": "rm delete del",
        "`koco user password NAME` sets a password": "passwd reset set",
    },
    "context": {
        "`koco context list` lists control planes": "ls all",
        "`koco context show` shows the current one": "get current whoami info",
        "`koco context use NAME` selects one": "switch set select",
        "`koco context add NAME URL` adds one": "create new login",
        "`koco context remove NAME` removes one": "rm delete del",
    },
}

#: Hints for options that a command does not have.
_OPTIONS = {
    _PLAN: "--dry-run --dryrun --diff --what-if --noop",
    "`koco --context NAME COMMAND` uses another control plane": "--profile --url --host",
    _FOLLOW: "--watch --stream --attach",
    "`--json` prints JSON": "--output -o --format",
    "KOCO_DEBUG=1 shows an error's traceback": "--debug -v",
    "NO_COLOR=1 turns colours off": "--no-color --no-colour --color",
    "leave it out: `--yes` goes on without asking": "--no-confirm --auto-approve",
}

#: The same for options of one command. Kodosumi's `koco deploy` has these.
_OPTIONS_OF = {
    "deploy": {
        "leave it out: `koco deploy` deploys the services of this project": "--run -r",
        _PLAN: "--dry -d",
        "`koco status` shows services and their releases": "--status -s",
        "`koco undeploy SERVICE` removes a service, `koco down` ends koco": "--shutdown --stop -x",
        "`koco init --from FILE` makes manifests of Kodosumi's or Serve's": "--file -f",
        "`--json` prints JSON": "-j",
    }
}

#: Names of options in other tools; suggested if the command has the option.
_SAME_OPTIONS = {
    "--follow": "--watch --stream --attach --tail",
    "--tail": "--lines --last",
    "--limit": "--lines --last --max --count --tail",
    "--to": "--output -o --out --dest",
}

#: Names of execution statuses in other tools.
STATUSES = {
    word: status
    for status, words in {
        "finished": "done complete completed success successful succeeded ok passed",
        "error": "failed failure fail errored errors crashed",
        "cancelled": "canceled aborted stopped killed terminated",
        "running": "active started in_progress in-progress",
        "queued": "pending waiting scheduled created",
        "awaiting": "paused blocked suspended approval",
        "sleeping": "parked asleep dormant",
    }.items()
    for word in words.split()
}


def about_command(name: str, group: str = "") -> str | None:
    """Return a hint for an unknown command, if the word is in the tables."""
    return _find_hint(name, _OF_GROUPS.get(group, {}) if group else _COMMANDS)


def about_option(name: str, names: Iterable[str] = (), *, command: str = "") -> str | None:
    """Return a hint for an unknown option, if it is in the tables.

    `names` are the options that the command has.
    """
    if hint := _find_hint(name, _OPTIONS_OF.get(command, {})):
        return hint
    same = (ours for ours, theirs in _SAME_OPTIONS.items() if name in theirs.split())
    if ours := next((each for each in same if each in names), None):
        return f"did you mean {ours}?"
    return _find_hint(name, _OPTIONS)


def statuses(given: Iterable[str]) -> list[str]:
    """Return statuses by koco's names, from words that other tools use."""
    names = [name for each in given for name in each.split(",") if name]
    return [STATUSES.get(name.lower(), name) for name in names]


def hints() -> list[str]:
    """Return all hints."""
    groups = (*_OF_GROUPS.values(), *_OPTIONS_OF.values())
    return [*_COMMANDS, *(hint for group in groups for hint in group), *_OPTIONS]


def suggest(
    name: str, names: Iterable[str], *, prefix: str = "", is_sure: bool = False
) -> str | None:
    """Return the most similar name; None if none is similar, or if that name is destructive.

    The second best is not returned then: for `undeplo` it would be `deploy`. `prefix` comes before
    each name in `DESTROYING`.
    """
    near = nearest(name, names, cutoff=_SAME if is_sure else _ALIKE)
    return None if near is None or prefix + near in DESTROYING else near


def _find_hint(name: str, meanings: dict[str, str]) -> str | None:
    return next((hint for hint, words in meanings.items() if name.lower() in words.split()), None)
