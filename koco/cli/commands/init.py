"""`koco init`: create a project from a template, or a manifest for code that exists."""

from pathlib import Path
from typing import Annotated, Any

from koco.cli.inputs import prompt
from koco.cli.parameters import Argument, Option
from koco.cli.scaffold import next_steps, templates, writing
from koco.cli.scaffold.names import Names
from koco.cli.scaffold.templates import Template
from koco.cli.terminal import output
from koco.errors import UsageError
from koco.plurals import counted


def command(
    directory: Annotated[
        Path, Argument(metavar="[DIR]", help="The project's folder; created if needed.")
    ] = Path(),
    template: Annotated[
        str | None,
        Option(
            "--template",
            "-t",
            metavar="NAME",
            help="The template, or a folder that is one [default: asks at a terminal, or hello].",
        ),
    ] = None,
    name: Annotated[
        str | None,
        Option("--name", metavar="NAME", help="The service's name [default: the name of DIR]."),
    ] = None,
    source: Annotated[
        str | None,
        Option(
            "--from",
            metavar="PATH",
            help="Write the manifest for code that exists: module:function, or the deployment "
            "file of Ray Serve or Kodosumi, or a folder of them.",
        ),
    ] = None,
    as_list: Annotated[bool, Option("--list", help="List the templates.")] = False,
    no_input: Annotated[bool, Option("--no-input", help=prompt.NO_INPUT)] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create a project: a manifest, code, a test and a README.

    The test runs without Ray. With --from, the code in DIR stays as it is and gets what is missing
    of a manifest and a koco.toml. Existing files are never overwritten: if one is in the way,
    nothing is written.

    Example: koco init hello --template hello
    """
    if as_list:
        _list(as_json=as_json)
    elif source is not None:
        if template is not None:
            raise UsageError("--from and --template exclude each other", hint="leave one out")
        from koco.cli.scaffold import existing_code  # the model of manifests, the reader of YAML

        existing_code.write(source, directory, name, as_json=as_json)
    else:
        _create(directory, template, name, asks=prompt.can_ask(no_input or as_json), json=as_json)


def _create(
    directory: Path, template: str | None, name: str | None, *, asks: bool, json: bool
) -> None:
    names = Names.of(name or directory.resolve().name)
    is_open = template is None and asks
    chosen = _choose() if is_open else templates.find(template or templates.DEFAULT)
    from koco.cli.scaffold import rendering  # the walk through files, which the list does not need

    made = rendering.render(chosen, names)
    writing.refuse_overwrite(directory, made.files.keys())
    writing.write(directory, made.files)
    files = sorted(map(str, made.files))
    if json:
        facts: dict[str, Any] = {"path": str(directory.resolve()), "template": chosen.name}
        output.print_json({**facts, "service": names.service, "files": files})
        return
    output.print_line(str(directory))
    for each in made.left_out:
        output.note(f"note: {each.name} is left out: it looks like {each.looks_like}")
    others = "" if template or asks else " (`koco init --list` lists others)"
    output.note(f"created {counted(len(files), 'file')} from the template {chosen.name!r}{others}")
    next_steps.show(directory, ["koco up", "koco deploy"], run=chosen.run)


def _choose() -> Template:
    """Ask a person which template."""
    known = {template.name: template for template in templates.bundled()}
    form: Any = {
        "type": "select",
        "name": "template",
        "label": "Which template?",
        "option": [{"name": each.name, "label": each.description} for each in known.values()],
        "value": templates.DEFAULT,
    }
    answers = prompt.ask([form], {}, unchanged="no template was chosen; nothing was written")
    return known[answers["template"]]


def _list(*, as_json: bool) -> None:
    known = [(template.name, template.description) for template in templates.bundled()]
    if as_json:
        items = [{"name": name, "description": about} for name, about in known]
        output.print_items(items)
    else:
        output.print_table(("TEMPLATE", "DESCRIPTION"), known, widest="DESCRIPTION")
