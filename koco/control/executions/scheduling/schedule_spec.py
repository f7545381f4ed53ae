"""The schedules in a release's manifest, and the check that its flows accept their inputs."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from koco.errors import InputsError
from koco.forms import Model, browser
from koco.manifest.descriptions import FlowDescription
from koco.store.model import ReleaseFailure

if TYPE_CHECKING:
    from koco.manifest.model import Manifest, Schedule


def hash_of(schedule: "Schedule") -> str:
    """Return a hash of the flow, its inputs and the times. It is the same in the next release."""
    hashed = [schedule.flow, schedule.cron, schedule.timezone, schedule.inputs]
    return hashlib.sha256(msgspec.json.encode(hashed, order="deterministic")).hexdigest()[:16]


def public_id(service: str, schedule: str) -> str:
    """Return the id by which people name a schedule: `schedule` is its hash."""
    return hashlib.sha256(f"{service} {schedule}".encode()).hexdigest()[:10]


async def find_problem(
    manifest: "Manifest", flows: Sequence[FlowDescription]
) -> ReleaseFailure | None:
    """Return the first problem with a release's schedules, or None.

    `flows` are the flows as the release described them. A schedule is a problem if its flow does
    not exist or rejects its inputs.
    """
    forms = {flow.name: flow.form for flow in flows}
    # Their handlers get all inputs as they are, and decide themselves.
    kodosumis = {flow.name for flow in flows if flow.dialect and flow.path}
    models: dict[str, Model | None] = {}
    for index, entry in enumerate(manifest.schedule):
        if entry.flow not in forms:
            text, hint = f"there is no flow {entry.flow!r}", f"flows: {', '.join(forms)}"
        else:
            if entry.flow not in models:
                form = forms[entry.flow]
                models[entry.flow] = None if form is None else Model.from_list(form)
            as_browser = entry.flow in kodosumis
            refusal = await _refusal(models[entry.flow], entry.inputs, as_browser=as_browser)
            await asyncio.sleep(0)  # there may be thousands, and other tasks need the loop
            if not refusal:
                continue
            text = f"{entry.flow} refuses its inputs: {refusal}"
            hint = f"set the inputs that it needs in schedule[{index}].inputs"
        return ReleaseFailure(message=f"schedule[{index}]: {text}", hint=hint)
    return None


async def _refusal(form: Model | None, inputs: dict[str, Any], *, as_browser: bool) -> str | None:
    if form is None:
        return None
    try:
        if as_browser:
            browser.complete(form, inputs)
        else:
            await form.validate_async(inputs)
    except InputsError as exc:
        return "; ".join(exc.message.splitlines())
    return None
