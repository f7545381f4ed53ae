"""The names of all commands, with the first line of the help of each, and their functions."""

import importlib
from collections.abc import Callable
from typing import Any

#: Command -> the first line of its help, in the order in which a new user needs the commands. A
#: name of two words is a command of a group. The module is `koco.cli.commands.` and the name. The
#: lines are here, and a test compares them with the docstrings, so that `koco --help` imports no
#: command.
COMMANDS = {
    "init": "Create a project: a manifest, code, a test and a README.",
    "validate": "Check manifests and koco.toml without contacting a control plane.",
    "schema": "Print a JSON Schema of manifests, koco.toml or event streams.",
    "up": "Start koco on this machine, or on a Ray cluster with --ray.",
    "down": "Stop what `koco up` started, on this machine or on a Ray cluster.",
    "dev": "Deploy at each save into a service of your own, and follow it.",
    "status": "Show the control plane, Ray, the store, services and executions.",
    "doctor": "Check this machine, the connection and the control plane.",
    "plan": "Show what `koco deploy` would change.",
    "deploy": "Deploy services, and wait until they are live.",
    "releases": "List a service's releases, newest first, or show one.",
    "rollback": "Go back to an earlier release of a service.",
    "undeploy": "Remove a service: its flows, its runners and its endpoint.",
    "flows": "List flows, or show one flow with its inputs.",
    "run": "Launch a flow, and print the fid of the new execution.",
    "logs": "Show the events of executions.",
    "ps": "List executions, newest first.",
    "top": "Watch services, runners and executions on the whole terminal.",
    "usage": "Add up executions and what they used, by flow, service, day, user.",
    "show": "Show an execution: its error, status, times, inputs and usage.",
    "timeline": "Show where an execution's time went, as a bar chart.",
    "steps": "List an execution's recorded steps, in the order of their calls.",
    "stack": "Show the current Python stacks of an execution.",
    "result": "Print an execution's result.",
    "wait": "Wait until executions have ended, and print their statuses.",
    "cancel": "Cancel executions.",
    "retry": "Launch ended executions again, and print the fids of the new ones.",
    "resume": "Launch ended executions again, keeping their recorded steps.",
    "schedule list": "List schedules, with their next and last times.",
    "schedule pause": "Pause schedules.",
    "schedule resume": "Resume schedules.",
    "schedule trigger": "Launch a schedule's flow now, with its inputs, and print the fid.",
    "export": "Write executions into folders: events, inputs, result, files.",
    "delete": "Delete ended executions, with their events, files and locks.",
    "inbox": "List locks that wait for a person's answer, oldest first.",
    "answer": "Answer a lock that an execution waits for.",
    "send": "Send a message to an execution, for its `tracer.receive`.",
    "mcp": "Serve flows as tools to agents on this machine, over MCP.",
    "files ls": "List an execution's files.",
    "files put": "Upload files into an execution.",
    "files get": "Download an execution's files.",
    "files rm": "Remove files from an execution.",
    "webhook create": "Have a URL told of executions, and print its secret.",
    "webhook list": "List webhooks: your own or, if you are an admin, everybody's.",
    "webhook test": "Send a test message to a webhook, and say how it went.",
    "webhook deliveries": "Show what webhooks were told and are still to be told, newest first.",
    "webhook redeliver": "Send messages to webhooks again, now.",
    "webhook rotate": "Give a webhook a new secret, and print it.",
    "webhook remove": "Remove a webhook, with its log and what it has not been told yet.",
    "secret set": "Set a secret.",
    "secret list": "List secrets, without their values.",
    "secret unset": "Remove a secret.",
    "backup": "Write a backup of a running control plane to a file.",
    "store copy": "Copy a store into a database of PostgreSQL, or back into a file.",
    "blobs copy": "Copy bundles and files to another directory or bucket.",
    "limits": "Show the limits of flows, or override those of one.",
    "config list": "List the control plane's settings.",
    "config get": "Print the value of a setting.",
    "config set": "Change settings of the control plane while it runs.",
    "config unset": "Set settings back to their defaults.",
    "completion": "Print a script that completes commands in your shell.",
    "audit": "Show the audit log: who changed what, and what was refused.",
    "key create": "Create an API key, and print it.",
    "key list": "List API keys.",
    "key rotate": "Give an API key a new secret, and print it.",
    "key revoke": "Revoke an API key.",
    "user create": "Create a user, who can then log in with a password.",
    "user list": "List users.",
    "user update": "Change a user's rights or e-mail address.",
    "user disable": "Keep a user from logging in, and end their sessions at once.",
    "user enable": "Let a disabled user log in again.",
    "user remove": "Remove a user, and end their sessions.",
    "user password": "Change a user's password.",
    "login": "Log in to a control plane, and make it the current context.",
    "logout": "Log out: end the session of the current context.",
    "context list": "List contexts.",
    "context show": "Show a context: URL, start of the key, whether it is current.",
    "context use": "Make a context the current one.",
    "context add": "Add a context without contacting its control plane.",
    "context remove": "Remove a context and its key.",
}

#: Group -> its help, which `koco GROUP --help` shows above the list of its commands.
GROUPS = {
    "schedule": """List, pause, resume and trigger schedules.

    Example: koco schedule pause report/daily
    """,
    "files": """List, upload, download and remove the files of an execution.

    Example: koco files ls 5wzk
    """,
    "webhook": """Have URLs told when executions end or need a person.

    Example: koco webhook create chat https://example.com/hook --on awaiting
    """,
    "secret": """Manage secrets: API keys, passwords and tokens that services need.

    Example: koco secret set OPENAI_API_KEY
    """,
    "blobs": """Move the control plane's bundles and files.

    Example: koco blobs copy --from ~/.koco/local/blobs --to s3://my-bucket/koco
    """,
    "store": """Move the control plane's store.

    Example: koco store copy --from ~/.koco/local/store.db --to postgresql://koco@db/koco
    """,
    "config": """Show and change the control plane's settings.

    Example: koco config set max_running=50
    """,
    "key": """Manage API keys for people, pipelines and agents.

    Example: koco key create ci --scope deploy
    """,
    "user": """Manage users, who log in with a password.

    Example: koco user create ada --scope launch
    """,
    "context": """Manage contexts: the control planes that you work with.

    Example: koco context use staging
    """,
}


def first_line(name: str) -> str:
    """Return the first line of the help of a command or a group."""
    return COMMANDS[name] if name in COMMANDS else GROUPS[name].partition("\n")[0]


def load(name: str) -> Callable[..., Any]:
    """Import a command's module, and return the command's function."""
    module = importlib.import_module(f"koco.cli.commands.{name.replace(' ', '.')}")
    function: Callable[..., Any] = module.command
    return function
