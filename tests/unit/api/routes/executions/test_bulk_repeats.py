"""Many executions are retried or resumed at once, over a real socket."""

from collections.abc import Iterator
from typing import Any

import pytest

from koco.errors import TooManyError
from koco.events.model import Status
from koco.store.model import FailureEvent, NewExecution
from tests.support import whole_api
from tests.support.api_server import Api, serving


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(whole_api.complete(api))
        yield api


def make(api: Api, status: Status = Status.ERROR, **more: Any) -> str:
    error = FailureEvent(type="X", message="x") if status == Status.ERROR else None
    return api.execution(status if status.is_final else None, error, release=2, **more)


def ask(api: Api, action: str, key: str = "", *, code: int = 200, **params: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    with api.http() as client:
        path = f"/v1/executions/{action}"
        answer = client.post(path, params=params, headers=headers)
        assert answer.status_code == code, answer.text
        return answer.json()


def test_a_filter_retries_failures_once(api: Api) -> None:
    """Only those with an error, and not those that were retried before, unless `again` is true."""
    first, second = make(api), make(api)
    make(api, Status.FINISHED)
    make(api, Status.QUEUED)
    answer = ask(api, "retry", service="svc")
    assert [each["fid"] for each in answer["retried"]] == [second, first]
    assert (answer["skipped"], answer["next"]) == ([], None)
    new = answer["retried"][0]["new"]
    made = api.call(api.parts.store.executions.get(new))
    assert (made.retry_of, made.user) == (second, "ada")
    assert ask(api, "retry", service="svc")["retried"] == []
    assert ask(api, "resume", service="svc")["resumed"] == []
    assert len(ask(api, "retry", service="svc", again=True)["retried"]) == 2
    # A retry that failed is a failure of its own.
    api.call(api.parts.store.executions.settle(new, Status.ERROR))
    [again] = ask(api, "retry", status="error")["retried"]
    assert again["fid"] == new


def test_named_ones_are_skipped_if_they_were_retried(api: Api) -> None:
    """The reason names the execution that did it."""
    fid, running = make(api), make(api, Status.QUEUED)
    [first] = ask(api, "retry", fid=[fid, running])["retried"]
    answer = ask(api, "retry", fid=[fid, running, "zzzz"])
    codes = [(each["fid"], each["code"]) for each in answer["skipped"]]
    assert codes == [(fid, "retried"), (running, "conflict"), ("zzzz", "not_found")]
    assert first["new"] in answer["skipped"][0]["reason"]
    assert [each["new"] for each in answer["skipped"]] == [first["new"], None, None]
    assert len(ask(api, "retry", fid=fid, again=True)["retried"]) == 1


def test_the_same_key_gives_the_same_executions(api: Api) -> None:
    """Also with `again`, if the answer was lost."""
    fids = [make(api), make(api)]
    first = ask(api, "retry", "k1", fid=fids, again=True)
    assert ask(api, "retry", "k1", fid=fids, again=True) == first
    assert ask(api, "retry", "k2", fid=fids, again=True) != first
    long = ask(api, "retry", "k" * 255, fid=fids, again=True)
    assert ask(api, "retry", "k" * 255, fid=fids, again=True) == long
    for action in ("retry", "resume"):
        assert ask(api, action, "k" * 256, code=400, fid=fids)["code"] == "usage"


def test_a_full_queue_ends_the_piece(api: Api) -> None:
    """What was done is answered; 429 comes only if that is nothing."""
    fids = [make(api) for _ in range(3)]
    accept, room = api.parts.supervisor.launch, [1]

    async def launch(new: NewExecution) -> Any:
        if not room:
            raise TooManyError("1 waits already, and at most 1 may")
        room.pop()
        return await accept(new)

    api.parts.supervisor.launch = launch
    answer = ask(api, "retry", fid=fids)
    assert [each["fid"] for each in answer["retried"]] == fids[:1]
    assert ask(api, "retry", code=429, fid=fids, cursor=answer["next"])["code"] == "too_many"
    room += [1, 1]
    rest = ask(api, "retry", fid=fids, cursor=answer["next"])
    assert [each["fid"] for each in rest["retried"]] == fids[1:]


def test_lists_tell_what_was_retried(api: Api) -> None:
    """`retried` is a filter of the list, too."""
    done, left = make(api), make(api)
    ask(api, "retry", fid=done)
    with api.http() as client:
        for retried, fid in ((True, done), (False, left)):
            params = {"retried": retried, "status": "error"}
            [found] = client.get("/v1/executions", params=params).json()["items"]
            assert found["fid"] == fid


def test_resume_takes_a_step_for_all(api: Api) -> None:
    """Each is refused by itself if it has no such step."""
    fid = make(api)
    [skipped] = ask(api, "resume", fid=fid, step="fetch", release="live")["skipped"]
    assert skipped["code"] == "not_found"
    [done] = ask(api, "resume", fid=fid, release="live")["resumed"]
    assert api.call(api.parts.store.executions.get(done["new"])).resume_of == fid
