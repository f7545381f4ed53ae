"""What a job asks: its open locks as input schemas, and the answers to them."""

from typing import Any

from koco.api.agents.calls import Calls
from koco.api.agents.mip003 import fields, inputs
from koco.api.agents.mip003.jobs import Job
from koco.api.http import json_text
from koco.errors import InputsError, KocoError, NotFoundError, UsageError
from koco.manifest.descriptions import KODOSUMI
from koco.store.model import Lock

#: The field of a lock without a form, which takes any JSON value.
_ANSWER = "answer"
#: What stands between the id of a lock and that of a field.
_SIGN = ":"


async def describe(calls: Calls, lock: Lock, *, prefix: str = "") -> list[fields.Described]:
    """Return the fields of a lock's form."""
    form = await calls.form(lock)
    if form is not None:
        return fields.describe(form, prefix=prefix)
    about = {"description": "a text, or JSON"}
    return [{"id": f"{prefix}{_ANSWER}", "type": "textarea", "name": lock.name, "data": about}]


async def describe_groups(calls: Calls, locks: list[Lock]) -> list[dict[str, Any]]:
    """Return a group for each lock. Ids of fields begin with the id of their lock."""
    return [
        {
            "id": lock.lid,
            "title": lock.name,
            "input_data": await describe(calls, lock, prefix=f"{lock.lid}{_SIGN}"),
        }
        for lock in locks
    ]


def assign(
    locks: list[Lock], given: dict[str, Any], *, lid: str | None
) -> dict[str, dict[str, Any]]:
    """Return the answers by the id of their lock.

    Without a lock's id before it, a field belongs to the lock `lid`.

    Raises:
        UsageError: a field belongs to no open lock.
    """
    known = {lock.lid for lock in locks}
    found: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        before, sign, rest = name.partition(_SIGN)
        if sign and before in known:
            found.setdefault(before, {})[rest] = value
        elif lid in known:
            found.setdefault(str(lid), {})[name] = value
        else:
            raise UsageError(
                f"{name[:200]!r} belongs to nothing that the job waits for",
                hint="send `status_id` as the status shows it, and the fields of its input_schema",
            )
    if not found and lid in known:
        found[str(lid)] = {}  # a form whose fields are all optional
    if not found:
        raise UsageError("input_data is missing, or the job does not wait for input")
    return found


async def answer(
    calls: Calls, job: Job, answers: dict[str, dict[str, Any]], *, is_strict: bool = True
) -> dict[str, KocoError]:
    """Answer locks of a job; return the refusals by the locks' ids. The others are answered.

    Unless `is_strict`, values that a lock's form does not have are ignored.
    """
    is_text = job.execution is not None and job.execution.dialect == KODOSUMI
    refused: dict[str, KocoError] = {}
    for lock in job.locks:
        if lock.lid not in answers:
            continue
        try:
            form = await calls.form(lock)
            values: Any = answers[lock.lid]
            if form is None:
                values = _read_free(values, calls.parts.settings.max_body_values)
            else:
                values = inputs.read(form, values, is_strict=is_strict)
                values = inputs.to_texts(form, values) if is_text else values
            await calls.answer(lock.fid, lock.lid, values)
        except KocoError as exc:
            refused[lock.lid] = exc
    return refused


def prefixed(refused: dict[str, KocoError]) -> KocoError:
    """Return one error for several: messages about fields, with the ids that the schema has."""
    errors = InputsError()
    for lid, each in refused.items():
        if not isinstance(each, InputsError):
            return each
        for name, messages in each.errors.items():
            errors.add(**{f"{lid}{_SIGN}{name}": messages})
    return errors


def _read_free(given: dict[str, Any], most_values: int) -> Any:
    """Return the answer to a lock without a form."""
    if given.keys() != {_ANSWER} or not isinstance(given[_ANSWER], str):
        return given
    try:
        return json_text.decode(given[_ANSWER], most_values=most_values)
    except ValueError:
        return given[_ANSWER]


def find(locks: list[Lock], lid: str) -> Lock:
    """Return an open lock by its id.

    Raises:
        NotFoundError: there is none.
    """
    for lock in locks:
        if lock.lid == lid:
            return lock
    raise NotFoundError(f"the job does not wait for {lid[:200]!r}")
