"""Act on many executions: cancel, delete, retry or resume all that are selected."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from koco.cli import pages, selection
from koco.cli.inputs import prompt
from koco.cli.many import backoff
from koco.cli.terminal import output
from koco.client.client import Client
from koco.errors import AnswerError, Interrupted, from_wire
from koco.plurals import counted

#: The maximum number of pieces: a server could send them without end.
_PIECES = 1_000_000
#: How many fids go into one request.
_NAMED = 100
#: As far as selected executions are counted before a person is asked.
_COUNTED = 1000


class Action(NamedTuple):
    """Something to do to many executions, and the words in which a person is told."""

    verb: str
    #: What was done to an execution. The member of the API's answer has the same name.
    done: str
    #: The executions that a filter finds if it names no status, and the words for them.
    statuses: Sequence[str]
    which: str
    #: The rest of the question, after the number.
    rest: str = ""
    #: What is printed after a fid, if not `done`.
    shown: str = ""
    #: The codes of refusals that mean that there is nothing to do.
    harmless: frozenset[str] = frozenset()


class Outcome(NamedTuple):
    """An execution, and what became of it.

    `new` is the fid of one that was launched for it, `status` its status if it is known.
    """

    fid: str
    new: str | None = None
    status: str | None = None
    code: str | None = None
    reason: str | None = None


#: Asks the API for one piece: see `Client.delete_all`.
Ask = Callable[..., Mapping[str, Any]]


def confirm(
    client: Client,
    action: Action,
    filters: selection.Selection,
    *,
    yes: bool,
    as_json: bool,
    retried: bool | None = None,
) -> bool:
    """Ask a person whether to act on all that match. Return False if there are none.

    Raises:
        UsageError: there is nobody to ask, and no `yes`.
        Interrupted: the answer is no.
    """
    if yes:
        return True
    names = _count(client, filters, action.statuses, retried=retried)
    if not names:
        output.note(f"no {action.which} matches; nothing was {action.done}")
        return False
    prompt.confirm(
        f"{action.verb.capitalize()} {names}{action.rest}?",
        action=f"{action.verb} {names}{action.rest.partition(',')[0]}",
        unchanged=f"nothing was {action.done}",
        as_json=as_json,
    )
    return True


def act(
    ask: Ask, action: Action, selected: Sequence[str] | selection.Selection
) -> Iterator[Outcome]:
    """Act on the selected executions, and yield what became of each.

    If no more may wait in a queue, this waits until there is room.

    Raises:
        AnswerError: the answers have no end.
        Interrupted: Ctrl-C. The message says how far it got.
    """
    told: set[str] = set()
    try:
        for piece in _pieces(ask, selected):
            for each in piece[action.done]:
                fid, new = (each, None) if isinstance(each, str) else (each["fid"], each["new"])
                if fid not in told:  # where a queue was full, some are asked for twice
                    told.add(fid)
                    yield Outcome(fid, new)
            for each in piece["skipped"]:
                yield Outcome(each["fid"], code=each["code"], reason=each["reason"])
    except KeyboardInterrupt:
        # The answer to the last request is lost, so a few more may be done.
        raise Interrupted(
            f"{counted(len(told), 'execution')} {action.done} so far",
            hint="repeat the command to go on: what is done is not done twice",
        ) from None


def report(
    outcomes: Iterator[Outcome], action: Action, *, as_json: bool, is_aside: bool = False
) -> tuple[int, int]:
    """Print what became of each execution; return how many were done, and the exit code.

    That is 0 if none was refused, the code of the refusals if all have the same one, and 1 if they
    differ. With `is_aside`, all of it goes to stderr, because stdout is for something else.
    """
    count, codes = 0, set()
    as_json = as_json and not is_aside
    for each in outcomes:
        if each.code is None:
            count += 1
            if is_aside:
                output.note(_line(each, action))
            else:
                _print_done(each, action, as_json=as_json)
            continue
        if each.code not in action.harmless:
            codes.add(from_wire({"code": each.code}).exit_code)
        if as_json:
            output.print_ndjson(_as_json(each, action))
        else:
            output.note(f"{each.fid} skipped: {each.reason}")
    return count, codes.pop() if len(codes) == 1 else min(len(codes), 1)


def _count(
    client: Client, filters: selection.Selection, statuses: Sequence[str], *, retried: bool | None
) -> str:
    """Return how many executions are selected, in words: those of `statuses` by default.

    The text is empty if there are none. `retried` is as in `Client.executions`.
    """
    wanted = {**filters, "statuses": filters["statuses"] or statuses, "retried": retried}
    found = pages.gather(client.executions, _COUNTED, **wanted)
    if found["next"]:
        return f"more than {_COUNTED} executions"
    return counted(len(found["items"]), "execution") if found["items"] else ""


def _print_done(each: Outcome, action: Action, *, as_json: bool) -> None:
    if as_json:
        output.print_ndjson(_as_json(each, action))
        return
    output.print_line(_line(each, action))
    output.flush()


def _line(each: Outcome, action: Action) -> str:
    return f"{each.fid}\t{each.new or each.status or action.shown or action.done}"


def _as_json(each: Outcome, action: Action) -> dict[str, Any]:
    done = {"fid": each.fid, action.done: each.code is None}
    others = {"new": each.new, "status": each.status, "code": each.code, "reason": each.reason}
    return done | {name: value for name, value in others.items() if value is not None}


def _pieces(ask: Ask, selected: Sequence[str] | selection.Selection) -> Iterator[Mapping[str, Any]]:
    if isinstance(selected, Mapping):
        yield from _pieces_of(ask, dict(selected))
        return
    fids = list(dict.fromkeys(selected))
    for start in range(0, len(fids), _NAMED):
        yield from _pieces_of(ask, {"fids": fids[start : start + _NAMED]})


def _pieces_of(ask: Ask, selected: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    cursor: str | None = None
    for _ in range(_PIECES):
        piece = backoff.when_there_is_room(
            partial(ask, **selected, cursor=cursor),
            on_wait=lambda exc: output.note(f"waiting for room: {exc.message}"),
        )
        yield piece
        former, cursor = cursor, piece["next"]
        if not cursor:
            return
        if cursor == former:
            break
    raise AnswerError("the control plane returns pieces that have no end")
