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
            f"a key of koco's is among {what}, where others would see it",
            hint="a flow that needs one takes it from a secret: `koco secret set NAME`",
        )
