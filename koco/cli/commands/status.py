"""`koco status`: what runs."""

from itertools import zip_longest
from typing import Annotated, Any

import typer

from koco.plurals import counted


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what runs: the control plane, Ray's nodes, the store, services, executions.

    Example: koco status --json
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    status = connection.connect().status()
    if as_json:
        output.print_json(status)
        return
    context = connection.context()
    output.print_line(f"{'context':<14} {context.name}")
    for label, text in _lines(status):
        lines = output.wrapped(text, indent=15) if output.is_terminal() else [text]
        for name, line in zip_longest((label,), lines, fillvalue=""):
            output.print_line(f"{name:<14} {line}")


def _set(settings: dict[str, Any]) -> list[str]:
    """Return the settings that somebody has set, as `koco up --set` takes them."""
    import msgspec

    from koco.control.settings import Settings

    defaults = msgspec.json.decode(msgspec.json.encode(Settings()))
    told = {name: value for name, value in settings.items() if value != defaults.get(name)}
    return [f"{name}={_value(value)}" for name, value in told.items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value).lower()


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    from koco.cli.terminal import schedule_text, times

    plane, ray, store = status["control_plane"], status["ray"], status["store"]
    lines = [
        ("control plane", f"{plane['version']} at {plane['url']}, process {plane['pid']}"),
        (
            "",
            f"up since {times.at(plane['started'])}, {counted(plane['restarts'] or 0, 'restart')}",
        ),
        ("ray", f"{_versions(ray)}, {counted(len(ray['nodes']), 'node')}"),
    ]
    lines += [("", _node(node)) for node in ray["nodes"]]
    lines.append(("store", f"{store['path']}, {store['size_bytes'] / 1e6:.1f} MB"))
    if settings := _set(status.get("settings") or {}):  # an older control plane does not tell
        lines.append(("settings", ", ".join(settings)))
    for service in status["services"]:
        flows = ", ".join(service["flows"])
        runners = counted(service["runners"] or 0, "runner")
        own = f", endpoint {service['endpoint']}" if service.get("endpoint") else ""
        text = f"release {service['release']} {service['status']}, {runners}{own}: {flows}"
        lines.append((f"{service['name']}", text))
        if trouble := service.get("trouble"):
            lines.append(("", str(trouble)))
        if drift := service.get("drift"):
            lines.append(("", f"{drift}; `koco deploy` puts it back"))
        # What has limits and nothing to do is in `--json`, and in `koco flows NAME`.
        busy = [each for each in service.get("load") or () if each["running"] or each["waiting"]]
        lines += [("", schedule_text.load(each)) for each in busy]
        for each in service.get("schedule") or ():
            lines += [("", f"{each['flow']}: {text}") for text in schedule_text.troubles(each)]
    tallies = ", ".join(f"{count} {name}" for name, count in status["executions"].items() if count)
    lines.append(("executions", tallies or "none yet"))
    for at, each in enumerate(status.get("left") or ()):
        lines.append(("" if at else "left in Ray", _stays(each)))
    return lines


def _stays(left: dict[str, Any]) -> str:
    whose = left["fid"] or f"{left['service']}, release {left['release']}"
    kind = f"detached {left['kind']}" if left["detached"] else left["kind"]
    return f"{kind} {left['name']} of {whose}, process {left['pid']}"


def _versions(ray: dict[str, Any]) -> str:
    python = ray.get("python")  # an older control plane does not tell
    return f"{ray['version']} on Python {python}" if python else str(ray["version"])


def _node(node: dict[str, Any]) -> str:
    if not node["alive"]:
        return f"{node['address']} DEAD"
    resources, free = node.get("resources") or {}, node.get("free")
    # What objects of Ray's may take is nothing that a runner asks for.
    hidden = ("memory", "object_store_memory", "accelerator_type:")
    parts = [
        _left(free, resources, name, f"{{:g}} {name}")
        for name in sorted(resources)
        if not name.startswith(hidden)
    ]
    gigabytes = {"memory": resources.get("memory", 0) / 1e9}
    left = None if free is None else {"memory": free.get("memory", 0) / 1e9}
    parts.append(_left(left, gigabytes, "memory", "{:.1f} GB"))
    labels = node.get("labels") or {}
    own = [f"{name}={labels[name]}" for name in sorted(labels) if not name.startswith("ray.io/")]
    has = f"{node['address']} alive, {', '.join(parts)}"
    return f"{has}; {', '.join(own)}" if own else has


def _left(free: dict[str, float] | None, resources: dict[str, float], name: str, shape: str) -> str:
    """Return what of a resource there is, and what of it is free where that is less."""
    there = shape.format(resources[name])
    if free is None or free.get(name, 0) == resources[name]:
        return there
    return f"{there} ({free.get(name, 0):.3g} free)"
