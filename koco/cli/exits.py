"""What ends a command early, without an error."""


class Exit(Exception):  # noqa: N818 - it is no error
    """Raised to end the command with an exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
