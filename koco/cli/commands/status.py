"""`koco status`: show the state of the control plane, Ray and the services."""

from itertools import zip_longest
from typing import Annotated, Any

from koco.cli import connection
from koco.cli.arguments import Contexts
from koco.cli.parameters import Option
from koco.cli.terminal import output, schedule_text, times
from koco.client.answers import LeftOver, MissingProcess, Node, Overview, Process, Ray
from koco.plurals import counted
from koco.sizes import GB, format_size


def command(
    contexts: Contexts = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the control plane, Ray, the store, services and executions.

    Example: koco status --json
    """
    if contexts is not None:
        _show_several(contexts, as_json=as_json)
        return
    status = connection.connect().status()
    if as_json:
        output.print_json(status)
        return
    _show(connection.context().name, status)


def _show_several(contexts: str, *, as_json: bool) -> None:
    from koco.cli.across import places  # not needed for one control plane

    answers = places.ask(places.named(contexts), lambda client: client.status(), away_s=0.0)
    if as_json:
        output.print_items([{**each.to_json(), **(each.value or {})} for each in answers])
    else:
        there = [(each.context.name, each.value) for each in answers if each.value is not None]
        for at, (name, status) in enumerate(there):
            if at:
                output.print_line("")
            _show(name, status)
    places.check(answers)


def _show(context: str, status: Overview) -> None:
    output.print_line(f"{'context':<14} {context}")
    for label, text in _lines(status):
        lines = output.wrapped(text, indent=15) if output.is_terminal() else [text]
        for name, line in zip_longest((label,), lines, fillvalue=""):
            output.print_line(f"{name:<14} {line}")


def _changed_settings(settings: dict[str, Any]) -> list[str]:
    """Return the settings that differ from their defaults, in the form of `koco up --set`."""
    # Imported here, because they cost 30 ms, and `--json` does not need them.
    import msgspec

    from koco.control.settings import Settings

    defaults = msgspec.json.decode(msgspec.json.encode(Settings()))
    changed = {name: value for name, value in settings.items() if value != defaults.get(name)}
    return [f"{name}={_value(value)}" for name, value in changed.items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value).lower()


def _lines(status: Overview) -> list[tuple[str, str]]:
    plane, ray, store = status["control_plane"], status["ray"], status["store"]
    lines = [
        ("control plane", f"{plane['version']} at {plane['url']}, process {plane['pid']}"),
        (
            "",
            f"up since {times.at(plane['started'])}, {counted(plane['restarts'] or 0, 'restart')}",
        ),
        *(("", _process(each)) for each in status.get("processes") or ()),
        *(("", _missing(each)) for each in status.get("missing") or ()),
        ("ray", f"{_versions(ray)}, {counted(len(ray['nodes']), 'node')}"),
    ]
    lines += [("", _node(node)) for node in ray["nodes"]]
    lines.append(("store", f"{store['path']}, {format_size(store['size_bytes'])}"))
    if store.get("waits_for"):
        lines.append(("", "changes wait for a synchronous standby that is away: `koco doctor`"))
    if blobs := status.get("blobs"):  # older control planes leave it out
        lines.append(("blobs", blobs["path"]))
    if settings := _changed_settings(
        status.get("settings") or {}
    ):  # older control planes leave it out
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
            lines.append(("", f"{drift}; `koco deploy` restores it"))
        # Only busy flows: the limits of the others are in `--json` and in `koco flows NAME`.
        busy = [each for each in service.get("load") or () if each["running"] or each["waiting"]]
        lines += [("", schedule_text.load(each)) for each in busy]
        for each in service.get("schedule") or ():
            lines += [("", f"{each['flow']}: {text}") for text in schedule_text.troubles(each)]
    tallies = ", ".join(f"{count} {name}" for name, count in status["executions"].items() if count)
    lines.append(("executions", tallies or "none yet"))
    for at, left in enumerate(status.get("left") or ()):
        lines.append(("" if at else "left in Ray", _left_over(left)))
    return lines


def _process(process: Process) -> str:
    leads = ", leads" if process["leads"] else ""
    return f"{process['name']} at {process['url']}, process {process['pid']}{leads}"


def _missing(process: MissingProcess) -> str:
    return f"{process['name']} is missing: {process['why']}"


def _left_over(left: LeftOver) -> str:
    whose = left["fid"] or f"{left['service']}, release {left['release']}"
    kind = f"detached {left['kind']}" if left["detached"] else left["kind"]
    return f"{kind} {left['name']} of {whose}, process {left['pid']}"


def _versions(ray: Ray) -> str:
    python = ray.get("python")  # older control planes leave it out
    return f"{ray['version']} on Python {python}" if python else str(ray["version"])


def _node(node: Node) -> str:
    if not node["alive"]:
        return f"{node['address']} DEAD"
    resources, free = node.get("resources") or {}, node.get("free")
    # Runners do not request the memory of Ray's object store.
    hidden = ("memory", "object_store_memory", "accelerator_type:")
    parts = [
        _amount(free, resources, name, f"{{:g}} {name}")
        for name in sorted(resources)
        if not name.startswith(hidden)
    ]
    gigabytes = {"memory": resources.get("memory", 0) / GB}
    left = None if free is None else {"memory": free.get("memory", 0) / GB}
    parts.append(_amount(left, gigabytes, "memory", "{:.1f} GB"))
    labels = node.get("labels") or {}
    own = [f"{name}={labels[name]}" for name in sorted(labels) if not name.startswith("ray.io/")]
    has = f"{node['address']} alive, {', '.join(parts)}"
    return f"{has}; {', '.join(own)}" if own else has


def _amount(
    free: dict[str, float] | None, resources: dict[str, float], name: str, shape: str
) -> str:
    """Return the amount of a resource, and how much of it is free if that is less."""
    there = shape.format(resources[name])
    if free is None or free.get(name, 0) == resources[name]:
        return there
    return f"{there} ({free.get(name, 0):.3g} free)"
