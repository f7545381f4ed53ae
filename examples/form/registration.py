"""Every element of a form, as it arrives: typed, checked, with its default where none was given.

koco deploy                 # at the root of the repository
koco run form/register -f   # at a terminal it asks for each field
"""

from typing import Any

from koco import Tracer, response


async def register(inputs: dict[str, Any], tracer: Tracer) -> response.Markdown:
    shown = {name: _shown(name, value) for name, value in inputs.items()}
    await tracer.result(shown)
    rows = [
        f"| {name} | {type(inputs[name]).__name__} | {' '.join(str(value).split())} |"
        for name, value in shown.items()
    ]
    return response.Markdown("\n".join(["| input | type | value |", "|---|---|---|", *rows]))


def _shown(name: str, value: Any) -> Any:
    """Return a value as JSON has it; a secret is counted."""
    if name == "code":
        return f"{len(value)} characters"
    return value if isinstance(value, bool | int | float | list | None) else str(value)
