"""The launches of `koco dev`: the flow of `--run`, and the last one again."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from koco.cli.inputs import file_inputs, prompt
from koco.cli.terminal import output, times
from koco.client.client import Client
from koco.errors import ConflictError, NotFoundError, UsageError
from koco.spelling import nearest

#: How much of a result a line shows (characters).
_RESULT = 60


@dataclass(frozen=True, slots=True)
class Launched:
    """An execution that this command launched."""

    fid: str
    flow: str
    inputs: dict[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Its outcome in a few words."""

    text: str
    took_s: float


class Launches:
    """Launches flows of a person's own services, and compares their outcomes."""

    def __init__(
        self,
        client: Client,
        *,
        wanted: str | None,
        values: dict[str, Any],
        lent: Callable[[], AbstractContextManager[None]] | None,
    ) -> None:
        """`lent` lends the keyboard, to ask a person; None if none can be asked."""
        self._client = client
        #: The flow of `--run`, and its inputs.
        self.wanted = wanted
        self._values = values
        self._lent = lent
        #: The flows that are deployed, by full name.
        self.flows: list[str] = []
        self._running: Launched | None = None
        self._last: Launched | None = None
        self._ended: dict[str, Ended] = {}

    def run_wanted(self) -> None:
        """Launch the flow of `--run`. The execution that it launched before is cancelled.

        Raises:
            KocoError: it cannot be launched.
        """
        if self.wanted is not None:
            self._launch(self._find(self.wanted), dict(self._values))

    def run_again(self) -> None:
        """Launch again what was launched last, here or elsewhere, with its inputs.

        Raises:
            KocoError: it cannot be launched.
        """
        if self._last is not None:
            self._launch(self._last.flow, self._last.inputs)
        elif self.wanted is not None:
            self.run_wanted()
        else:
            self._launch(*self._latest())

    def note_launch(self, fid: str, flow: str) -> None:
        """Note that somebody has launched an execution, for example in another terminal."""
        if self._running is None or self._running.fid != fid:
            self._last = None  # the latest one is looked up when it is needed

    def note_end(self, fid: str) -> None:
        """Show the outcome of an execution that was launched here, and the last one's."""
        if self._running is None or self._running.fid != fid:
            return
        running, self._running = self._running, None
        ended = Ended(self._outcome(fid), time.monotonic() - running.at)
        before = self._ended.get(running.flow)
        self._ended[running.flow] = ended
        text = f"{running.flow}  {ended.text}  {times.short(ended.took_s)}"
        if before is not None:
            is_same = before.text == ended.text
            former = "as before" if is_same else f"before: {before.text}"
            text += f"  ({former}, {times.short(before.took_s)})"
        output.note(text)

    def _outcome(self, fid: str) -> str:
        found = self._client.result(fid)
        if (error := found.get("error")) is not None:
            shown = f"{error['type']}: {error['message']}"
        else:
            shown = json.dumps(found.get("result"), ensure_ascii=False)
        return f"{found['status']}: {output.shortened(output.inline(shown), _RESULT)}"

    def _launch(self, flow: str, values: dict[str, Any]) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            with contextlib.suppress(ConflictError, NotFoundError):  # it has ended
                self._client.cancel(running.fid, grace_s=0)
        fid = self._client.launch(flow, file_inputs.resolve(self._client, values))
        self._running = self._last = Launched(fid, flow, values, time.monotonic())

    def _find(self, name: str) -> str:
        """Return the full name of a flow: `greet`, `hello/greet` and `hello~ada/greet` are one."""
        known = {each: each for each in self.flows}
        for each in self.flows:
            service, _, flow = each.partition("/")
            known[f"{service.partition('~')[0]}/{flow}"] = each
        if name in known:
            return known[name]
        fits = [each for each in self.flows if each.partition("/")[2] == name]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ConflictError(f"several flows are called {name!r}", hint=", ".join(fits))
        near = nearest(name, [*known, *(each.partition("/")[2] for each in self.flows)])
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.flows)}"
        raise NotFoundError(f"no flow is called {name!r}", hint=hint)

    def _latest(self) -> tuple[str, dict[str, Any]]:
        """Return the latest launch of these flows; if there is none, ask for the inputs of one."""
        services = {each.partition("/")[0] for each in self.flows}
        pages = [self._client.executions(service=each, limit=1)["items"] for each in services]
        if found := [each for page in pages for each in page]:
            latest = max(found, key=lambda each: each["created"])
            if latest["flow"] in self.flows:
                inputs: dict[str, Any] = self._client.execution(latest["fid"])["inputs"] or {}
                return latest["flow"], inputs
        if not self.flows:
            raise UsageError("nothing is deployed yet", hint="correct what is shown above")
        if len(self.flows) > 1 or self._lent is None:
            raise UsageError(
                "nothing was launched yet",
                hint=f"in another terminal: koco run {self.flows[0]} -i KEY=VALUE",
            )
        [flow] = self.flows
        form = self._client.flow(flow)["form"]
        if not form:
            return flow, {}
        with self._lent():
            return flow, prompt.ask(form, {})


def show_list(client: Client, services: Sequence[str]) -> None:
    """Show the latest executions of services."""
    rows = []
    for service in services:
        for each in client.executions(service=service, limit=10)["items"]:
            end = each["finished"]
            took = times.short(times.seconds(each["created"], end)) if end else ""
            rows.append((each["created"], [each["fid"][:12], each["flow"], each["status"], took]))
    if not rows:
        output.note("nothing was launched yet")
        return
    output.print_table(
        ["FID", "FLOW", "STATUS", "TOOK"], [row for _, row in sorted(rows, reverse=True)]
    )
