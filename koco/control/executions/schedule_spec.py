"""The schedules in a release's manifest, and the check that its flows accept their inputs."""

import asyncio
import hashlib
from typing import Any

import msgspec

from koco.errors import InputsError
from koco.forms import Model


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule of a manifest."""

    flow: str
    cron: str
    timezone: str = "UTC"
    inputs: dict[str, Any] = {}
    overlap: bool = False
    catch_up: bool = False

    @property
    def id(self) -> str:
        """A hash of the flow, its inputs and the times. It is the same in the next release."""
        said = [self.flow, self.cron, self.timezone, self.inputs]
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:16]


def entries(manifest: dict[str, Any]) -> list[Entry]:
    """Return the schedules in a manifest."""
    return msgspec.convert(manifest.get("schedule", []), list[Entry])


async def problem(manifest: dict[str, Any], flows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first problem with a release's schedules, or None.

    `flows` are the flows as the release described them. A schedule is a problem if its flow does
    not exist or rejects its inputs.
    """
    forms = {flow["name"]: flow["form"] for flow in flows}
    models: dict[str, Model | None] = {}
    for index, entry in enumerate(entries(manifest)):
        if entry.flow not in forms:
            said, hint = f"there is no flow {entry.flow!r}", f"flows: {', '.join(forms)}"
        else:
            if entry.flow not in models:
                form = forms[entry.flow]
                models[entry.flow] = None if form is None else Model.from_list(form)
            refusal = await _refusal(models[entry.flow], entry.inputs)
            await asyncio.sleep(0)  # there may be thousands, and other tasks need the loop
            if not refusal:
                continue
            said = f"{entry.flow} refuses its inputs: {refusal}"
            hint = f"give it those it wants as schedule[{index}].inputs"
        return {"message": f"schedule[{index}]: {said}", "detail": None, "hint": hint}
    return None


async def _refusal(form: Model | None, inputs: dict[str, Any]) -> str | None:
    if form is None:
        return None
    try:
        await form.validate_async(inputs)
    except InputsError as exc:
        return "; ".join(exc.message.splitlines())
    return None
