"""The progress of an execution, on one line below its other events."""

from koco.cli.terminal import output


class ProgressBar:
    """The last progress of a stream. It is drawn in place on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._line = output.StatusLine()
        self._text = ""

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to draw it on."""
        return self._line.is_shown

    def set(self, text: str) -> None:
        """Take the text to draw, one line."""
        self._text = text

    def draw(self) -> None:
        """Draw it, after everything else was written."""
        if self._text:
            self._line.show(self._text)

    def make_way(self) -> None:
        """Remove it from the terminal, before something else is written."""
        self._line.clear()

    def end(self) -> str:
        """Remove it, and return its text."""
        self.make_way()
        text, self._text = self._text, ""
        return text
