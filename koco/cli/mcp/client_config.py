"""How to add `koco mcp` to clients of MCP."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_NAME = "koco"


@dataclass(frozen=True)
class Client:
    """A client: how it is configured, and where that belongs."""

    render: Callable[[list[str], Mapping[str, str]], str]
    place: str
    #: Whether it refuses names of tools with dots or dashes, or hides such tools.
    needs_plain_names: bool = False


def _json(key: str) -> Callable[[list[str], Mapping[str, str]], str]:
    def render(line: list[str], env: Mapping[str, str]) -> str:
        command, *arguments = line
        about = {"command": command, "args": arguments, **({"env": dict(env)} if env else {})}
        return json.dumps({key: {_NAME: about}}, indent=2)

    return render


def _toml(line: list[str], env: Mapping[str, str]) -> str:
    command, *arguments = line
    about = [f"command = {json.dumps(command)}", f"args = {json.dumps(arguments)}"]
    if env:
        pairs = ", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())
        about.append(f"env = {{ {pairs} }}")
    return "\n".join([f"[mcp_servers.{_NAME}]", *about])


def _shell(line: list[str], env: Mapping[str, str]) -> str:
    import shlex  # only for this client

    pairs = [part for name, value in env.items() for part in ("--env", f"{name}={value}")]
    return shlex.join(["claude", "mcp", "add", _NAME, *pairs, "--", *line])


#: The clients by the names that `--print-config` takes.
CLIENTS = {
    "claude-code": Client(_shell, "run this line"),
    "claude-desktop": Client(_json("mcpServers"), "put this into claude_desktop_config.json", True),
    "codex": Client(_toml, "put this into ~/.codex/config.toml", True),
    "cursor": Client(_json("mcpServers"), "put this into .cursor/mcp.json", True),
    "gemini": Client(_json("mcpServers"), "put this into ~/.gemini/settings.json"),
    "vscode": Client(_json("servers"), "put this into .vscode/mcp.json"),
    "zed": Client(_json("context_servers"), "put this into Zed's settings.json"),
}


def command_line(
    options: list[str], *, service: str | None, operates: bool, has_plain_names: bool
) -> list[str]:
    """Return the command line with which a client starts the server.

    With a whole path, because a desktop application does not search where a shell does.
    """
    own = Path(sys.executable).with_name(_NAME)
    found = str(own) if own.exists() else shutil.which(_NAME)
    koco = [found] if found else [sys.executable, "-m", "koco"]
    chosen = ["--service", service] if service else []
    chosen += ["--plain-names"] if has_plain_names else []
    return [*koco, *options, "mcp", *chosen, *(["--operate"] if operates else [])]
