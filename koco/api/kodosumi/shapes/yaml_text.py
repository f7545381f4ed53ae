"""Values as YAML, in limited time: some of 200,000 characters would take ten seconds."""

from typing import Any

import yaml

from koco.api.http.rendering import Deadline
from koco.errors import LimitError


def to_yaml(value: Any, *, most_s: float) -> str:
    """Return a value as YAML.

    Raises:
        LimitError: it takes longer than `most_s` seconds of processor time.
    """
    deadline = Deadline(most_s)

    class Dumper(_Dumper):
        def check(self) -> None:
            if not deadline.check():
                raise LimitError(f"the value takes longer than {most_s:g} s to become YAML")

    return str(yaml.dump(value, Dumper=Dumper, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Checks the time at each value and at each piece of text."""

    def check(self) -> None:
        """Raise an error if there is no time left."""

    def represent_data(self, data: Any) -> Any:
        self.check()
        return super().represent_data(data)

    def emit(self, event: Any) -> None:
        self.check()
        super().emit(event)
