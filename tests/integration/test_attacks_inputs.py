"""Attacks by what is sent as inputs, on a whole koco; others are asked about meanwhile."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.driver import Koco, others

CODE = """
def take(inputs):
    return len(inputs)
"""


@pytest.fixture(scope="module")
def flows(koco: Koco) -> Koco:
    """Flows with patterns that explode in engines that try one way after the other."""
    patterns = {f"p{number}": "a?" * number + "a" * number for number in (29, 31, 300)}
    patterns |= {"nested": "(?:(?:(?:a*)*)*)*b", "long": "[ab]*a[ab]{300}c"}
    text = [{"type": "text", "name": name, "pattern": each} for name, each in patterns.items()]
    schema = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}}
    values = [{"type": "json", "name": "x", "json_schema": schema}]
    taken = [
        {"name": "patterns", "entrypoint": "inputs_app:take", "inputs": text},
        {"name": "values", "entrypoint": "inputs_app:take", "inputs": values},
    ]
    return koco.deploy("inputs", CODE, flows=taken)


@pytest.mark.parametrize(
    ("field", "text", "status"),
    [
        *((f"p{number}", "a" * number, 201) for number in (29, 31, 300)),
        ("nested", "a" * 10_000, 422),
        ("long", "ab" * 15_000, 422),
        ("long", "ab" * 1_000_000, 422),
    ],
)
def test_a_pattern_stops_nobody(flows: Koco, field: str, text: str, status: int) -> None:
    """Several at once are answered, and others as ever."""
    with others(flows) as found, ThreadPoolExecutor(4) as pool, flows.http() as client:

        def launch(_: int) -> int:
            answer = client.post("/v1/flows/inputs/patterns", json={field: text})
            return answer.status_code

        launched = 0
        while not found.has_enough:
            # What is taken is run as well, which is no part of the attack.
            if status != 201 or launched < 16:
                assert set(pool.map(launch, range(4))) == {status}
                launched += 4
    found.were_served(1.0 if status == 201 else 0.5)  # what is taken runs beside them


@pytest.mark.parametrize("pattern", ["(?=.*[0-9]).+", r"(a)\1", r"\w{1,900}"])
def test_a_pattern_without_a_limit_is_never_deployed(flows: Koco, pattern: str) -> None:
    """`koco validate` says where it is and what it is, and so does the control plane."""
    form = [{"type": "text", "name": "x", "pattern": pattern}]
    taken = [{"name": "f", "entrypoint": "refused_app:take", "inputs": form}]
    project = flows.project("refused", CODE, flows=taken)
    done = flows.run("validate", cwd=project)
    assert done.code == 2
    assert "flows[0].inputs[0].pattern" in done.err
    assert "must be a" in done.err
    body = {"manifest": {"service": "refused", "flows": taken}, "bundle": "0" * 64}
    with flows.http() as client:
        answer = client.post("/v1/services/refused/releases", json=body)
    assert answer.status_code == 422
    assert "flows[0].inputs[0].pattern" in answer.text


MANY = 47_000

BODIES = {
    "numbers": (b'{"x":[%b1]}' % (b"1.5," * MANY), 201),
    "texts": (b'{"x":[%b1]}' % (b'"a",' * MANY), 201),
    "lists": (b'{"x":[%b1]}' % (b"[]," * (MANY // 2)), 422),
    "deep": (b'{"x":%b%b1%b}' % (b"[" * 190, b"1," * MANY, b"]" * 190), 422),
    "names": (b"{%b}" % b",".join(b'"k%d":1' % n for n in range(MANY)), 422),
    "more numbers": (b'{"x":[%b1]}' % (b"1," * 7_000_000), 413),
    "more lists": (b'{"x":[%b1]}' % (b"[]," * 5_000_000), 413),
    "one text": (b'{"x":"%b"}' % (b"," * 15_000_000), 422),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_large_body_stops_nobody(flows: Koco, name: str) -> None:
    """However many values it has: its sender waits, or is told to send a file."""
    body, status = BODIES[name]
    with flows.http() as client, ThreadPoolExecutor(3) as pool:

        def launch(_: int) -> int:
            headers = {"Content-Type": "application/json"}
            answer = client.post("/v1/flows/inputs/values", content=body, headers=headers)
            return answer.status_code

        # What is taken is run as well: the processes for that are not started while it counts.
        assert set(pool.map(launch, range(12))) == {status}
        flows.execute("inputs/values", x=[1])
        with others(flows) as found:
            while not found.has_enough:
                assert set(pool.map(launch, range(3))) == {status}
    found.were_served(1.0 if status == 201 else 0.5)  # what is taken runs beside them
