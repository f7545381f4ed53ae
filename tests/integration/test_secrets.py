"""Secrets on a real Ray: where they are, and where they never are."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.driver import Koco, eventually

#: Nothing else has this in it; with what JSON and shells quote.
CANARY = 'canary-7d1f"4e\\yellow'

SPEAKER = """
import os
import subprocess
from koco import Tracer

AT_IMPORT = os.environ["CANARY"]
print("imported with", AT_IMPORT, flush=True)

def say(how: str, tracer: Tracer):
    value = os.environ["CANARY"]
    if how == "print":
        print(value[:9], end="")
        print(value[9:])
        subprocess.run(["sh", "-c", "echo sub $CANARY; echo err $CANARY >&2"], check=True)
        tracer.debug_sync({"nested": [f"<{value}>"], value: True})
    if how == "raise":
        raise ValueError(f"refused: {value}")
    if how == "long":
        print("x" * (1024 * 1024 - 8) + value + "y" * 100)
    return {"value": value, "size": len(value), "same": AT_IMPORT == value, "pid": os.getpid()}

def wait(seconds: float):
    import time
    time.sleep(seconds)
    return len(os.environ["CANARY"])
"""


@pytest.fixture(scope="module")
def speaker(koco: Koco) -> Koco:
    koco.run("secret", "set", "CANARY", "-", stdin=f"{CANARY}\n").ok()
    return koco.deploy("speaker", SPEAKER, secrets=["CANARY"], runner={"max": 2})


def forms(value: str) -> list[bytes]:
    """A value's beginning and end, without what quoting changes."""
    return [part.encode() for part in value.replace("\\", '"').split('"') if len(part) > 5]


def test_a_value_is_in_its_runner_and_nowhere_else(speaker: Koco) -> None:
    """Not in events, answers, the store, the logs of koco or Ray, nor in other processes."""
    said = [speaker.execute("say", how=how) for how in ("print", "raise", "long")]
    assert said[0].result["size"] == len(CANARY)
    assert said[0].result["same"]
    assert said[0].result["value"] == "********"
    assert said[0].of("stdout") == ["********", "sub ********"]
    assert said[1].error["message"] == "refused: ********"
    assert all(form not in str(each.events).encode() for each in said for form in forms(CANARY))
    told = [
        speaker.run(*args).out.encode()
        for args in (
            ("secret", "list", "--json"),
            ("status", "--json"),
            ("logs", said[1].fid, "--json"),
            ("releases", "speaker", "--json"),
        )
    ]
    assert all(form not in each for each in told for form in forms(CANARY))
    [pattern, *_] = forms(CANARY)
    found = subprocess.run(
        ["grep", "-rlaF", pattern.decode(), str(speaker.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""
    assert _processes_with(pattern) == []


def _processes_with(pattern: bytes) -> list[str]:
    """Return the processes in whose first environment, as /proc has it, there is a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if pattern in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


def test_a_new_value_reaches_new_processes_and_ends_nothing(speaker: Koco) -> None:
    """What runs goes on in the process that it is in; the next one has the new value."""
    former = speaker.execute("say", how="nothing").result["pid"]
    fid = speaker.launch("wait", seconds=3)
    done = speaker.run("secret", "set", "CANARY", "-", stdin="a-new-value").ok()
    assert "speaker" in done.err
    renewed = eventually(lambda: _said_by_another(speaker, former))
    assert renewed["size"] == len("a-new-value")
    assert speaker.events(fid)[-1]["payload"]["status"] == "finished"
    speaker.run("secret", "set", "CANARY", "-", stdin=CANARY).ok()


def _said_by_another(koco: Koco, former: int) -> dict[str, object] | None:
    result: dict[str, object] = koco.execute("say", how="nothing").result
    return result if result["pid"] != former and result["size"] != len(CANARY) else None


def test_a_service_whose_secret_is_missing_is_not_deployed(koco: Koco) -> None:
    """Refused with the manifest's key and what sets it, before anything is made."""
    project = koco.project("needy", "def run():\n    pass\n", secrets=["NOT_SET"])
    done = koco.run("deploy", cwd=project)
    assert done.code == 2
    assert "there is no secret 'NOT_SET'" in done.err
    assert "koco secret set NOT_SET" in done.err


def test_a_key_that_is_gone_stops_those_who_need_it_only(speaker: Koco) -> None:
    """It is told what is missing and where; put back, all is well again."""
    plain = speaker.deploy("unconcerned", "def run():\n    return 1\n")
    [key] = speaker.home.rglob("secrets.key")
    assert key.stat().st_mode & 0o777 == 0o600
    aside = key.rename(key.with_suffix(".aside"))
    try:
        listed = speaker.run("secret", "list").ok()
        assert f"the key for all secrets is missing: {key}" in listed.err
        assert plain.execute("run").result == 1
        project = speaker.project("speaker2", SPEAKER, secrets=["CANARY"])
        refused = speaker.run("deploy", cwd=project)
        assert refused.code == 2
        assert "is missing" in refused.err
        other = speaker.run("secret", "set", "OTHER", "-", stdin="whatever")
        assert other.code == 2
        assert not key.exists()
        services = {each["name"]: each for each in speaker.get("/v1/status")["services"]}
        assert "no new runner can start: the key" in services["speaker"]["trouble"]
        assert services["unconcerned"]["status"] == "live"
    finally:
        aside.rename(key)
    assert speaker.run("secret", "list").ok().err == ""


LODGE = """
import os
from ray import serve
from koco import Launch, ServeAPI

AT_IMPORT = os.environ["LODGE_KEY"]
api = ServeAPI()

@api.enter("/", model=[])
async def enter(request, inputs):
    told = [len(AT_IMPORT), len(os.environ["LODGE_KEY"])]
    return Launch(request, "lodge_app:work", {"told": told})

def work(told):
    return [*told, len(os.environ["LODGE_KEY"])]

@serve.deployment
@serve.ingress(api)
class Lodge:
    def __init__(self):
        self.key = os.environ["LODGE_KEY"]

bound = Lodge.bind()
"""


def test_an_endpoint_of_ones_own_has_secrets_before_its_module_is_run(koco: Koco) -> None:
    """Also where Serve imports it by itself; a new value reaches its replicas, too."""
    koco.run("secret", "set", "LODGE_KEY", "-", stdin="12345678").ok()
    lodge = koco.deploy("lodge", LODGE, flows=[], app="lodge_app:bound", secrets=["LODGE_KEY"])
    assert lodge.execute("lodge").result == [8, 8, 8]
    koco.run("secret", "set", "LODGE_KEY", "-", stdin="1234567890").ok()
    assert eventually(lambda: lodge.execute("lodge").result == [10, 10, 10])
    assert os.environ.get("LODGE_KEY") is None
