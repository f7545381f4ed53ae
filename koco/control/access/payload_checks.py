"""Rejects koco's own keys in values that are stored and shown unchanged."""

from koco import tokens
from koco.errors import UsageError
from koco.events.line import encode_payload


def refuse(value: object, what: str) -> None:
    """Refuse a value that contains a key or a session's token; `what` names the value.

    Raises:
        UsageError: the value contains one.
    """
    if tokens.are_in(value if isinstance(value, str) else encode_payload(value).decode()):
        raise UsageError(
            f"{what} contain a key of koco, which others would see",
            hint="a flow can get a key from a secret: `koco secret set NAME`",
        )
