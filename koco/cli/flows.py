"""`koco flows`: what can be run."""

from typing import Annotated, Any

import typer

#: Form elements that carry no value.
_SHOWN_ONLY = ("submit", "cancel", "action", "markdown", "html", "break", "hr", "errors")


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[FLOW]", help="A flow's name, or `service/flow`; shows its inputs."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the flows that can be run, or show one with its inputs.

    Example: koco flows greet
    """
    from koco.cli import output, session

    client = session.connect()
    if name is not None:
        flow = client.flow(name)
        output.print_json(flow) if as_json else _print_flow(flow)
        return
    items = client.flows()
    if as_json:
        output.print_json({"items": items, "next": None})
        return
    if items or not output.is_terminal():
        rows = [(item["name"], str(item["release"]), item["summary"] or "") for item in items]
        output.print_table(_header("flow", "release", "summary"), rows, widest=_title("summary"))
    else:
        output.note("nothing is deployed yet: `koco deploy` deploys a project")


def _print_flow(flow: dict[str, Any]) -> None:
    from koco.cli import output

    for key in ("name", "summary", "description", "entrypoint", "release", "version", "author"):
        if flow.get(key):
            output.print_line(f"{key:<12} {flow[key]}")
    for key in ("organization", "tags"):
        if value := flow.get(key):
            text = ", ".join(value) if isinstance(value, list) else value
            output.print_line(f"{key:<12} {text}")
    form = flow.get("form")
    if form is None:
        output.print_line("inputs       any JSON object")
        return
    fields = [each for each in form if each.get("name") and each["type"] not in _SHOWN_ONLY]
    if not fields:
        output.print_line("inputs       none")
        return
    output.print_line("")
    output.print_table(
        _header("input", "type", "required", "default", "label"),
        [_row(field) for field in fields],
        widest=_title("label"),
    )
    needed = [f"-i {each['name']}=…" for each in fields if each.get("required")]
    output.note(" ".join(["run it: koco run", flow["name"], *needed, "-f"]))


def _row(field: dict[str, Any]) -> tuple[str, ...]:
    value = field.get("value")
    return (
        field["name"],
        field["type"],
        "yes" if field.get("required") else "no",
        "" if value is None else str(value),
        str(field.get("label") or ""),
    )


def _title(name: str) -> str:
    from koco.cli import output

    return name.upper() if output.is_terminal() else name


def _header(*names: str) -> tuple[str, ...]:
    return tuple(_title(name) for name in names)
