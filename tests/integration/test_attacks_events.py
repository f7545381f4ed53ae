"""Attacks on the event stream: a service's code that calls the control plane as its runner does."""

import pytest

from tests.support.driver import Koco, others

CODE = '''
import ray

from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.sdk.process import control_client

GOOD = line.encode(Kind.STDOUT, "needle")
STATUS = line.encode(Kind.STATUS, {"status": "finished"})


def attack(inputs):
    """Send what is no batch for somebody else's execution, as what ends it."""
    handle = ray.get_actor(control_client.name(1), namespace=control_client.NAMESPACE)
    fid, said = inputs["fid"], []
    for number, (count, body) in enumerate(
        [(3, GOOD), (1, b"no json"), (2, GOOD), (1, GOOD[:-1]), (1, STATUS), (0, b""), (0, GOOD)]
    ):
        for status in (Status.FINISHED, None):
            for runner in ("", "guessed"):
                batch = Batch(fid, f"evil{number}", 1, count, body, runner, status)
                blob = wire.encode_batches([batch])
                [ack] = wire.decode_acks(ray.get(handle.append.remote(blob)))
                said.append(ack.last)
    for blob in (b"", b"\\xff", b"\\x91\\x01", wire.encode_batches([]) + b"x"):
        try:
            ray.get(handle.append.remote(blob))
        except Exception as exc:
            said.append(type(exc).__name__)
    return said


async def victim(inputs, tracer):
    await tracer.debug("before the needle")
    await tracer.lock("approval", {}, timeout=600)
    await tracer.debug("after the needle")
    return "a needle in the result"
'''


@pytest.fixture(scope="module")
def events(koco: Koco) -> Koco:
    flows = [{"name": name, "entrypoint": f"events_app:{name}"} for name in ("attack", "victim")]
    return koco.deploy("events", CODE, flows=flows)


def test_no_batch_of_anybody_breaks_streams_or_search(events: Koco) -> None:
    """What cannot be stored is refused; its execution goes on, and searches and streams do."""
    fid = events.launch("victim", needle=1)
    with others(events, "/v1/executions?search=needle&limit=1") as found:
        said: list[str | int] = []
        while not (said and found.has_enough):
            said = events.execute("attack", fid=fid).result
    assert [each for each in said if isinstance(each, int) and each] == []
    assert sum(isinstance(each, str) for each in said) == 4
    found.were_served()
    with events.http() as client:
        [lock] = client.get(f"/v1/executions/{fid}/locks").json()["items"]
        answer = client.post(f"/v1/executions/{fid}/locks/{lock['lid']}", json={})
        assert answer.status_code == 200
        followed = events.events(fid)
        assert followed[-1]["payload"] == {"status": "finished"}
        assert [event["seq"] for event in followed] == list(range(1, len(followed) + 1))
        said = [event["payload"] for event in followed if event["kind"] == "debug"]
        assert said == ["before the needle", "after the needle"]
        found = client.get("/v1/executions", params={"search": "needle", "limit": 100})
        assert found.status_code == 200
        assert fid in {each["fid"] for each in found.json()["items"]}
        assert client.get("/health").json()["store"] == "ok"
