"""Keys of koco's own where they do not belong: in what is kept and shown as it was given."""

from koco import tokens
from koco.errors import UsageError
from koco.events.line import encode_payload


def refuse(value: object, what: str) -> None:
    """Refuse a value with a key or a session's token in it; `what` says what it is.

    Raises:
        UsageError: there is one.
    """
    if tokens.are_in(value if isinstance(value, str) else encode_payload(value).decode()):
        raise UsageError(
            f"a key of koco's is among {what}, where others would see it",
            hint="a flow that needs one takes it from a secret: `koco secret set NAME`",
        )
