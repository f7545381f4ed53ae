"""The end of a flow that does something else than what is recorded of it."""


class NonDeterministic(BaseException):
    """A resumed flow does something else than what is recorded of it.

    Not an `Exception`, because a flow must not catch it by accident and go on.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint is not None:
            self.add_note(f"hint: {hint}")
