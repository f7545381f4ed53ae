"""`koco flows`: what can be run."""

import json
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from koco.forms import Field

#: Form elements that carry no value.
_SHOWN_ONLY = ("submit", "cancel", "action", "markdown", "html", "break", "hr", "errors")

#: What is said of a flow, beside its inputs.
_FACTS = (
    *("name", "summary", "description", "entrypoint", "release", "version", "author"),
    *("organization", "tags"),
)


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[FLOW]", help="A flow's name, or `service/flow`; shows its inputs."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the flow's inputs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the flows that can be run, or show one with its inputs.

    Example: koco flows greet
    """
    from koco.cli import connection
    from koco.cli.terminal import output
    from koco.errors import UsageError

    if schema and name is None:
        raise UsageError("--schema needs a flow", hint="`koco flows` lists them")
    client = connection.connect()
    if schema:
        output.print_json(client.flow(str(name))["schema"])
        return
    if name is not None:
        flow = client.flow(name)
        output.print_json(flow) if as_json else _print_flow(flow)
        return
    items = client.flows()
    if as_json:
        output.print_items(items)
        return
    closed = [each for each in client.services() if each["status"] == "failed"]
    if items or not output.is_terminal():
        _print_list(items)
    elif not closed:
        output.note("nothing is deployed yet: `koco deploy` deploys a project")
    for each in closed:
        service, number = each["service"], each["release"]
        output.note(f"nothing of {service} serves: release {number} failed, `koco status` says how")


def _print_list(items: list[dict[str, Any]]) -> None:
    from koco.cli.terminal import output, schedule_text, times

    columns, rows = ["flow", "release", "summary"], []
    for item in items:
        due = schedule_text.next_run(item.get("schedule") or ())
        if due and output.is_terminal():
            due = times.ahead(due)
        rows.append([item["name"], str(item["release"]), item["summary"] or "", due or "-"])
    if any(row[-1] != "-" for row in rows) or not output.is_terminal():
        columns.append("next")
    header = _header(*columns)
    output.print_table(header, [row[: len(header)] for row in rows], widest=_title("summary"))


def _print_flow(flow: dict[str, Any]) -> None:
    from koco.cli.terminal import output

    facts = [(key, flow.get(key)) for key in _FACTS]
    for key, value in (*facts, *_plans(flow)):
        if value:
            text = ", ".join(value) if isinstance(value, list) else str(value)
            lines = output.wrapped(text, indent=13) if output.is_terminal() else [text]
            for name, line in zip_longest((key,), lines, fillvalue=""):
                output.print_line(f"{name:<12} {line}")
    form = flow.get("form")
    if form is None:
        output.print_line("inputs       any JSON object")
        return
    fields = [each for each in form if each.get("name") and each["type"] not in _SHOWN_ONLY]
    if not fields:
        output.print_line("inputs       none")
        return
    output.print_line("")
    if output.is_terminal():
        _draw(fields)
    else:
        columns = ("input", "type", "required", "default", "label", "allowed")
        output.print_table(columns, [_row(field) for field in fields])
    missing = [each for each in fields if each.get("required") and each.get("value") is None]
    needed = [f"-i {each['name']}=…" for each in missing]
    output.note(" ".join(["run it: koco run", flow["name"], *needed, "-f"]))


def _plans(flow: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what limits a flow, and when it is launched by itself."""
    from koco.cli.terminal import schedule_text

    lines = [("limits", schedule_text.limits(flow.get("limits") or {}))]
    for each in flow.get("schedule") or ():
        lines += [
            ("schedule", text)
            for text in (schedule_text.entry(each), *schedule_text.troubles(each))
        ]
    return lines


def _row(data: dict[str, Any]) -> tuple[str, ...]:
    from koco.cli.inputs import field_limits

    field = _field(data)
    needed = "yes" if data.get("required") else "no"
    value = data.get("value") if data["type"] != "password" else None
    default = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    said = (name for name, _ in field_limits.choices(field)) if field else ()
    limits = field_limits.limits(field) if field else ()
    about = ", ".join([*said, *limits])
    lead = (data["name"], data["type"], needed, "" if value is None else default)
    return (*lead, str(data.get("label") or ""), about)


def _draw(fields: list[dict[str, Any]]) -> None:
    """Draw the inputs as `koco run` asks for them; what is long goes on below, uncut."""
    from koco.cli.terminal import output

    taken = sum(max(len(each[key]) for each in fields) + 2 for key in ("name", "type"))
    rows = []
    for each in fields:
        first, *more = output.wrapped(_about(each), indent=taken)
        rows += [(each["name"], each["type"], first), *(("", "", line) for line in more)]
    output.print_table(("INPUT", "TYPE", "ABOUT"), rows, widest="ABOUT")


def _about(data: dict[str, Any]) -> str:
    from koco.cli.inputs import field_limits

    label, field = str(data.get("label") or ""), _field(data)
    if field is None:
        return label
    words = [*field_limits.words(field), *(name for name, _ in field_limits.choices(field))]
    default = field_limits.shown(field, field.default)
    said = [label, f"({', '.join(words)})" if words else "", f"[{default}]" if default else ""]
    return " ".join(each for each in said if each)


def _field(data: dict[str, Any]) -> "Field | None":
    """Return a field, or None where only a newer koco knows it."""
    from koco.forms import FormError, Model

    try:
        return next(iter(Model.from_list([data]).fields), None)
    except FormError:
        return None


def _title(name: str) -> str:
    from koco.cli.terminal import output

    return name.upper() if output.is_terminal() else name


def _header(*names: str) -> tuple[str, ...]:
    return tuple(_title(name) for name in names)
