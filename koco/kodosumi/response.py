"""Bodies for a flow to return or to pass to `tracer.result`; several parts become lines.

return response.Markdown("# Hymn", "to the night")
"""

from typing import Any

from koco.kodosumi import dtypes


def _joined(parts: tuple[Any, ...]) -> str:
    """Return the parts as lines. A single part must be text, or a list of parts."""
    if len(parts) == 1:
        if isinstance(parts[0], str):
            return parts[0]
        if not isinstance(parts[0], list):
            kind = type(parts[0]).__name__
            raise ValueError(f"a body takes text or a list of texts, not one {kind}")
        parts = tuple(parts[0])
    return "\n".join(map(str, parts))


def Markdown(*parts: Any) -> dtypes.Markdown:  # noqa: N802 - Kodosumi's name
    """Return a body in Markdown. Raises `ValueError` for a single part that is no text or list."""
    return dtypes.Markdown(body=_joined(parts))


def HTML(*parts: Any) -> dtypes.HTML:  # noqa: N802 - as above
    """Return a body in HTML. Raises `ValueError` as `Markdown` does."""
    return dtypes.HTML(body=_joined(parts))


def Text(*parts: Any) -> dtypes.Text:  # noqa: N802 - as above
    """Return a body of plain text. Raises `ValueError` as `Markdown` does."""
    return dtypes.Text(body=_joined(parts))
