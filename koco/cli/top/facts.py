"""What `koco top` shows: fetched from the control plane, as rows of text."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from koco.cli import selection
from koco.cli.terminal import execution_table, output, progress_text, times
from koco.client.answers import Execution, Overview, Runner
from koco.client.client import Client
from koco.errors import NotFoundError, UsageError
from koco.events.model import FINAL
from koco.plurals import counted
from koco.sizes import format_size

#: How many executions are fetched at first, and further ones at the end of the list.
PAGE = 100
#: The most that the API returns at once; further executions are found by filters.
MOST = 1000

#: The columns of executions, with their widths in characters; FLOW takes the rest, or WHY where
#: there is one.
_NARROW: Mapping[str, int] = {
    **{"FID": 6, "FLOW": 0, "STATUS": 9, "AGE": 4, "TOOK": 5, "DONE": 5, "CPU": 5, "MEM": 8}
}
_WIDE: Mapping[str, int] = {**_NARROW, "FID": 16, "FLOW": 32, "WHY": 0}
#: From this width on there is room for whole fids and reasons, and what a table adds around each
#: cell and at its edge (characters).
_WIDE_FROM, _PADDING, _EDGE = 130, 2, 2
#: The columns whose text changes as time passes.
CLOCKS = ("AGE", "TOOK")
#: The columns of services.
SERVICES = ("SERVICE", "REL", "STATUS", "RUNNERS", "RUN", "WAIT", "CPU", "MEM")


@dataclass
class Filter:
    """Which executions are listed, as typed: `flow=a/b status=error words`."""

    text: str = ""
    everything: bool = False

    def query(self) -> dict[str, Any]:
        """Return the filters as the client takes them.

        Raises:
            UsageError: it has an unknown name, status or time.
        """
        known: dict[str, list[str]] = {
            name: [] for name in ("status", "flow", "service", "user", "tag", "since")
        }
        words = []
        for part in self.text.split():
            name, given, value = part.partition("=")
            if not given:
                words.append(part)
            elif name not in known:
                raise UsageError(f"{name!r} is not one of {', '.join(known)}")
            else:
                known[name].append(value)
        once = ("flow", "service", "user", "since")
        one = {name: known[name][-1] if known[name] else None for name in once}
        filters = selection.make_filters(
            *(known["status"], one["flow"], one["service"], one["user"]),
            *(known["tag"], one["since"], None),
        )
        search = " ".join(words) or None
        return {
            **filters,
            "search": search,
            "active": not (self.everything or known["status"] or one["since"] or search),
        }


@dataclass
class Usage:
    """What runners use, by service: the part of a core from two looks, and memory."""

    cpu: dict[str, float] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    _former: dict[str, float] = field(default_factory=dict)
    _looked_at: float = 0.0

    def look(self, runners: Sequence[Runner]) -> None:
        """Take what all runners use now."""
        now = time.monotonic()
        passed_s = now - self._looked_at
        self.cpu, self.memory_bytes = {}, {}
        for runner in runners:
            service = runner["service"]
            if (memory := runner["memory_bytes"]) is not None:
                self.memory_bytes[service] = self.memory_bytes.get(service, 0) + memory
            used_s, former_s = runner["cpu_s"], self._former.get(runner["id"])
            if used_s is not None and former_s is not None and passed_s > 0:
                part = max(used_s - former_s, 0.0) / passed_s
                self.cpu[service] = self.cpu.get(service, 0.0) + part
        self._former = {each["id"]: each["cpu_s"] or 0.0 for each in runners}
        self._looked_at = now


def fetch_runners(client: Client) -> list[Runner]:
    """Return the runners; none if the control plane is too old to tell."""
    try:
        return client.runners()
    except NotFoundError:
        return []


def heading(overview: Overview) -> str:
    """Return the first line: versions, nodes, and executions that have not ended."""
    plane, ray = overview["control_plane"], overview["ray"]
    alive = [node for node in ray["nodes"] if node["alive"]]
    cores = sum((node.get("resources") or {}).get("CPU", 0) for node in alive)
    free = sum((node.get("free") or node.get("resources") or {}).get("CPU", 0) for node in alive)
    counts = overview["executions"].items()
    live = ", ".join(f"{many} {name}" for name, many in counts if many and name not in FINAL)
    nodes = f"{counted(len(alive), 'node')}, {free:g}/{cores:g} CPUs free"
    return output.inline(f"koco {plane['version']} · {nodes} · {live or 'nothing is running'}")


def services(overview: Overview, usage: Usage) -> list[list[str]]:
    """Return the row of each service."""
    rows = []
    for each in overview["services"]:
        load, name = each.get("load") or (), each["name"]
        cpu, memory = usage.cpu.get(name), usage.memory_bytes.get(name)
        rows.append(
            [
                *(output.inline(name), str(each["release"]), each["status"]),
                str(each["runners"] or 0),
                str(sum(flow["running"] for flow in load)),
                str(sum(flow["waiting"] for flow in load)),
                "-" if cpu is None else f"{cpu:.0%}",
                "-" if memory is None else format_size(memory),
            ]
        )
    return rows


def columns(width: int) -> dict[str, int]:
    """Return the columns of executions for a width of the terminal, each with its own."""
    found = dict(_WIDE if width >= _WIDE_FROM else _NARROW)
    rest = width - sum(found.values()) - _PADDING * len(found) - _EDGE
    name = next(name for name, own in found.items() if not own)
    return {**found, name: max(rest, 8)}


def row(execution: Execution) -> dict[str, str]:
    """Return the cells of an execution, by its columns."""
    error = execution["error"] or {}
    why = execution.get("waits") or error.get("message") or ""
    used: Mapping[str, Any] = execution.get("used") or {}
    cpu_s, memory = used.get("cpu_s"), used.get("peak_memory_bytes")
    return {
        "FID": execution["fid"],
        "FLOW": output.inline(execution["flow"]),
        "STATUS": execution["status"],
        "AGE": times.short(times.seconds(execution["created"])),
        "TOOK": execution_table.took(dict(execution)),
        "DONE": progress_text.brief(execution.get("progress")),
        "CPU": "-" if cpu_s is None else times.short(cpu_s),
        "MEM": "-" if memory is None else format_size(memory),
        "WHY": output.inline(why),
    }
