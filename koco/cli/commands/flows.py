"""`koco flows`: list flows, or show one."""

import json
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

from koco.cli import connection
from koco.cli.inputs import field_limits
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, schedule_text, times
from koco.client.answers import Element, Flow, FlowSummary, Tag
from koco.errors import UsageError

if TYPE_CHECKING:
    from koco.forms import Field

#: Form elements that have no value.
_SHOWN_ONLY = ("submit", "cancel", "action", "markdown", "html", "break", "hr", "errors")

#: The facts to show about a flow, besides its inputs.
_FACTS = (
    *("name", "summary", "description", "entrypoint", "release", "version", "author"),
    *("organization", "tags"),
)


def command(
    name: Annotated[
        str | None,
        Argument(
            metavar="[FLOW]", help="The flow to show: SERVICE/FLOW, or a name that is unique."
        ),
    ] = None,
    schema: Annotated[
        bool, Option("--schema", help="Print the JSON Schema of the flow's inputs.")
    ] = False,
    tag: Annotated[
        list[str] | None,
        Option(metavar="TAG", help="Only with this tag (repeatable; all must match)."),
    ] = None,
    search: Annotated[
        str | None,
        Option(metavar="WORDS", help="Only with all these words in name, summary, author or tags."),
    ] = None,
    tags: Annotated[
        bool, Option("--tags", help="List the tags of flows instead of the flows.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """List flows, or show one flow with its inputs.

    Example: koco flows greet
    """
    _check(name, schema=schema, filters=bool(tag or search), tags=tags)
    client = connection.connect()
    if tags:
        _print_tags(client.tags(), as_json=as_json)
        return
    if schema:
        output.print_json(client.flow(str(name))["schema"])
        return
    if name is not None:
        flow = client.flow(name)
        output.print_json(flow) if as_json else _print_flow(flow)
        return
    items = client.flows(tags=tag or (), words=search)
    if as_json:
        output.print_items(items)
        return
    if tag or search:
        _print_list(items)
        if not items:
            output.note("no flow matches; `koco flows` lists all, `koco flows --tags` their tags")
        return
    closed = [each for each in client.services() if each["status"] == "failed"]
    if items or not output.is_terminal():
        _print_list(items)
    elif not closed:
        output.note("no flows yet: `koco deploy` deploys a project")
    for each in closed:
        service, number = each["service"], each["release"]
        output.note(f"{service} is not served: release {number} failed; `koco status` says why")


def _check(name: str | None, *, schema: bool, filters: bool, tags: bool) -> None:
    """Refuse options that do not fit together."""
    if schema and name is None:
        raise UsageError("--schema needs a flow", hint="`koco flows` lists them")
    if name is not None and (filters or tags):
        raise UsageError(
            "--tag, --search and --tags are for the list of flows",
            hint=f"without them, `koco flows {name}` shows the flow",
        )
    if tags and filters:
        raise UsageError("--tags lists all tags: it takes neither --tag nor --search")


def _print_tags(items: list[Tag], *, as_json: bool) -> None:
    if as_json:
        output.print_items(items)
        return
    rows = [(each["name"], str(each["flows"])) for each in items]
    if rows or not output.is_terminal():
        output.print_table(_header("tag", "flows"), rows)
    else:
        output.note("no flow has a tag yet")


def _print_list(items: list[FlowSummary]) -> None:
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


def _print_flow(flow: Flow) -> None:
    facts = [(key, dict(flow).get(key)) for key in _FACTS]
    for key, value in (*facts, *_plans(flow)):
        if value:
            text = ", ".join(value) if isinstance(value, list) else str(value)
            lines = output.wrapped(text, indent=13) if output.is_terminal() else [text]
            for name, line in zip_longest((key,), lines, fillvalue=""):
                output.print_line(f"{name:<12} {line}")
    form = flow.get("form")
    if flow.get("page"):
        output.print_line(
            f"page         /v1/services/{flow['service']}/app{flow.get('path') or ''}"
        )
        output.print_line("inputs       the fields of the page's form")
        return
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
    needed = [f"-i {each['name']}={_example(each)}" for each in missing]
    output.note(" ".join(["to run it: koco run", flow["name"], *needed, "-f"]))


def _plans(flow: Flow) -> list[tuple[str, str]]:
    """Return what a flow does by itself: what it survives, calls, and when; each with its label."""
    lines = [
        ("durable", "yes" if flow.get("durable") else ""),
        ("calls", ", ".join(flow.get("calls") or ())),
        ("limits", schedule_text.limits(flow.get("limits") or {})),
    ]
    for each in flow.get("schedule") or ():
        lines += [
            ("schedule", text)
            for text in (schedule_text.entry(each), *schedule_text.troubles(each))
        ]
    return lines


def _row(data: Element) -> tuple[str, ...]:
    field = _field(data)
    needed = "yes" if data.get("required") else "no"
    value = data.get("value") if data["type"] != "password" else None
    default = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    choices = (name for name, _ in field_limits.choices(field)) if field else ()
    limits = field_limits.limits(field) if field else ()
    about = ", ".join([*choices, *limits])
    default = "" if value is None else default
    return data["name"] or "", data["type"], needed, default, str(data.get("label") or ""), about


def _draw(fields: list[Element]) -> None:
    """Draw the inputs as `koco run` asks for them; long texts are wrapped."""
    names = [(each["name"] or "", each["type"]) for each in fields]
    indent = sum(max(map(len, column)) + 2 for column in zip(*names, strict=True))
    rows = []
    for each, lead in zip(fields, names, strict=True):
        first, *more = output.wrapped(_about(each), indent=indent)
        rows += [(*lead, first), *(("", "", line) for line in more)]
    output.print_table(("INPUT", "TYPE", "ABOUT"), rows, widest="ABOUT")


def _about(data: Element) -> str:
    label, field = str(data.get("label") or ""), _field(data)
    if field is None:
        return label
    words = [*field_limits.words(field), *(name for name, _ in field_limits.choices(field))]
    default = field_limits.format_value(field, field.default)
    parts = [label, f"({', '.join(words)})" if words else "", f"[{default}]" if default else ""]
    return " ".join(filter(None, parts))


def _example(data: Element) -> str:
    field = _field(data)
    return field_limits.example(field) if field else "…"


def _field(data: Element) -> "Field | None":
    """Return a field, or None if this koco does not know its type."""
    from koco.forms import FormError, Model  # only to show one flow

    try:
        return next(iter(Model.from_list([data]).fields), None)
    except FormError:
        return None


def _title(name: str) -> str:
    return name.upper() if output.is_terminal() else name


def _header(*names: str) -> tuple[str, ...]:
    return tuple(_title(name) for name in names)
