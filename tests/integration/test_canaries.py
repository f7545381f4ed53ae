"""Values of secrets and keys planted wherever they might leak, and everything grepped for them."""

import base64
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex, token_urlsafe
from typing import Any

import httpx
import pytest

from tests.support.driver import Koco, eventually

#: A service whose flows and endpoint tell its secret in each way that they can think of.
CHATTY = """
import asyncio, base64, ctypes, json, logging, os, subprocess, sys
from urllib.parse import quote
import fastapi
import ray
from koco import Launch, ServeAPI, Tracer

TOKEN = os.environ["CANARY_TOKEN"]
print("imported with", TOKEN)
print("imported with", TOKEN, file=sys.stderr)
logging.getLogger("chatty").error("imported with %s", TOKEN)
subprocess.run(["sh", "-c", 'echo "$CANARY_TOKEN"; echo "$CANARY_TOKEN" >&2'])
os.write(1, b"half " + TOKEN[:9].encode())
os.write(1, TOKEN[9:].encode() + b"\\n")


def tell(where):
    forms = [TOKEN, repr(TOKEN), json.dumps({"t": json.dumps(TOKEN)}), quote(TOKEN, safe="")]
    forms += [base64.b64encode(f"{pad}{TOKEN}:x".encode()).decode() for pad in ("", "u", "us")]
    forms += [TOKEN.encode().hex(), base64.urlsafe_b64encode(TOKEN.encode()).decode()]
    for form in forms:
        print(where, form)
        print(where, form, file=sys.stderr)
    logging.getLogger("chatty").error("%s %s", where, TOKEN)
    sys.stdout.write(f"{where} " + TOKEN[:9])
    sys.stdout.write(TOKEN[9:] + "\\n")
    os.write(1, b"half " + TOKEN[:9].encode())
    os.write(1, TOKEN[9:].encode() + b"\\n")
    subprocess.run(["sh", "-c", 'echo "$CANARY_TOKEN"; env | grep CANARY >&2'])


@ray.remote(num_cpus=0)
def task(value, tracer):
    print("task", value)
    print("task", value, file=sys.stderr)
    tracer.debug_sync("task", value)


@ray.remote(num_cpus=0)
def failing(value):
    print("task", value)  # it has no tracer: Ray's log has it
    raise ValueError(f"task with {value}")


async def late(inputs: dict, tracer: Tracer):
    print("waiting", flush=True)
    await tracer.lock("later")
    await asyncio.to_thread(tell, "late")
    return {"late": TOKEN}


async def run(inputs: dict, tracer: Tracer):
    await asyncio.to_thread(tell, "flow")
    await tracer.result({TOKEN: [TOKEN]})
    await tracer.markdown(f"# {TOKEN}")
    await tracer.debug(TOKEN)
    await tracer.action(f"action {TOKEN}")
    await asyncio.to_thread(ray.get, task.remote(TOKEN, tracer))
    try:
        await asyncio.to_thread(ray.get, failing.remote(TOKEN))
    except Exception:
        await tracer.warning("failed", exc_info=True)
    if inputs.get("how") == "raise":
        raise ValueError(f"raised with {TOKEN}")
    if inputs.get("how") == "lock":
        await tracer.lock("go", {"text": TOKEN})
    if inputs.get("how") == "file":
        with open(f"/tmp/{TOKEN}.txt", "w") as file:
            file.write("x")
        try:
            async with await tracer.fs() as fs:
                await fs.upload(file.name)
        finally:
            os.unlink(file.name)
    if inputs.get("how") == "crash":
        print("crashing", TOKEN, flush=True)
        ctypes.string_at(0)
    return {"final": TOKEN}
"""

APP = (
    CHATTY
    + """
app = ServeAPI()


@app.enter("/")
def enter(request: fastapi.Request, inputs: dict):
    tell("enter")
    if inputs.get("how") == "handler":
        raise ValueError(f"handler with {TOKEN}")
    return Launch(request, run, inputs=inputs)


@app.get("/boom")
def boom():
    tell("boom")
    logging.getLogger("ray.serve").error("serve %s", TOKEN)
    raise ValueError(f"boom with {TOKEN}")


@app.get("/heard")
def heard(request: fastapi.Request):
    print("heard", dict(request.headers), request.cookies)
    return dict(request.headers)
"""
)

BAD_IMPORT = """
import os
raise RuntimeError("import with " + os.environ["CANARY_TOKEN"])
def run(inputs): ...
"""

BAD_REPLICA = """
import os, fastapi
from ray import serve
from koco import Launch, ServeAPI

app = ServeAPI()


@app.enter("/")
def enter(request: fastapi.Request, inputs: dict):
    return Launch(request, "os:getcwd")


@serve.deployment
@serve.ingress(app)
class Mine:
    def __init__(self):
        print("constructor with", os.environ["CANARY_TOKEN"])
        raise RuntimeError("constructor with " + os.environ["CANARY_TOKEN"])


bound = Mine.bind()
"""


class Canaries:
    """What must be nowhere, by what it is; and what has been seen."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.seen: list[tuple[str, bytes]] = []

    def plant(self, what: str, value: str) -> str:
        self.values[what] = value
        return value

    def see(self, where: str, text: str | bytes) -> None:
        self.seen.append((where, text if isinstance(text, bytes) else text.encode()))

    def needles(self) -> list[tuple[str, bytes]]:
        """Return parts of each value that nothing but itself has, as they may be encoded."""
        found: list[tuple[str, bytes]] = []
        for what, value in self.values.items():
            data = value.encode()
            found.append((what, data[4:20]))
            found.append((f"{what} in hexadecimal", data.hex()[8:40].encode()))
            for before in range(3):
                encoded = base64.b64encode(bytes(before) + data)
                found.append((f"{what} in base 64", encoded[4 + before : 24]))
        return found

    def leaks(self) -> list[str]:
        """Return where which of them was seen."""
        needles = self.needles()
        return [
            f"{what} in {where}: …{text[max(0, at - 100) : at + 60]!r}"
            for where, text in self.seen
            for what, needle in needles
            if (at := text.find(needle)) >= 0
        ]


def secret() -> str:
    """Return a value that JSON, Python and URLs each quote otherwise."""
    return f'se+{token_hex(16)}"ü'


def plant_secrets(koco: Koco, canaries: Canaries) -> None:
    """Have a secret told by flows, runners, tasks, replicas, handlers and failing deploys."""
    token = canaries.plant("a secret", secret())
    koco.run("secret", "set", "CANARY_TOKEN", "-", stdin=token).ok()
    secrets = {"secrets": ["CANARY_TOKEN"]}
    flows = [{"name": name, "entrypoint": f"shared_app:{name}"} for name in ("run", "late")]
    each_in_one = {"flows": flows, "runner": {"concurrency": 10}, **secrets}
    # A replica that fails is tried again for a while: the others are deployed meanwhile.
    with ThreadPoolExecutor(4) as pool:
        failing = [
            pool.submit(
                fail, koco, canaries, "badreplica", BAD_REPLICA, app="badreplica_app:bound"
            ),
            pool.submit(fail, koco, canaries, "badimport", BAD_IMPORT),
        ]
        in_one = pool.submit(koco.deploy, "shared", CHATTY, **each_in_one)
        alone = koco.deploy("chatty", APP, app="chatty_app:app", flows=[], **secrets)
        talking = [
            *(pool.submit(talk, alone, canaries, "chatty/chatty", how) for how in HOW),
            *(pool.submit(talk, in_one.result(), canaries, "shared/run", how) for how in HOW[:-1]),
        ]
        with koco.http() as client:
            assert client.get("/v1/services/chatty/app/boom").status_code == 500
            refused = client.post("/v1/flows/chatty/chatty", json={"how": "handler"})
        assert refused.status_code == 502
        canaries.see("a handler's failure", refused.text)
        for each in (*talking, *failing):
            each.result()


#: What the flow does with its secret in the end; the last one takes all of its process along.
HOW = ("return", "raise", "file", "lock", "crash")


def talk(koco: Koco, canaries: Canaries, flow: str, how: str) -> None:
    """Have an execution tell its secret."""
    if how != "lock":
        ended = koco.execute(flow, how=how)
        assert ended.status == ("finished" if how == "return" else "error"), how
        assert how != "return" or ended.result == {"final": "********"}
        return
    fid = koco.launch(flow, how=how)
    eventually(lambda: koco.get(f"/v1/executions/{fid}")["status"] == "awaiting")
    canaries.see("a lock's data", koco.run("inbox", "--json").ok().out)
    koco.run("cancel", fid).ok()


def fail(koco: Koco, canaries: Canaries, name: str, code: str, **manifest: Any) -> None:
    """Have a deploy fail with the secret in its last words."""
    flows = [] if manifest else [{"name": "run", "entrypoint": f"{name}_app:run"}]
    manifest |= {"flows": flows, "secrets": ["CANARY_TOKEN"]}
    done = koco.run("deploy", cwd=koco.project(name, code, **manifest))
    assert done.code == 5, done.err
    assert "with ********" in done.err
    canaries.see(f"the deploy of {name}", done.out + done.err)


def replace_secret(koco: Koco, canaries: Canaries) -> None:
    """Have a process that has the former value tell it when there is a new one."""
    fid = koco.launch("shared/late")
    eventually(lambda: koco.get(f"/v1/executions/{fid}")["status"] == "awaiting")
    token = canaries.plant("a new secret", secret())
    koco.run("secret", "set", "CANARY_TOKEN", "-", stdin=token).ok()
    koco.run("answer", fid, "-i", "ok=1").ok()
    assert koco.events(fid)[-1]["payload"]["status"] == "finished"


def plant_keys(koco: Koco, canaries: Canaries) -> None:
    """Send keys, a password and a session's token where they belong, and where they do not."""
    canaries.plant("the key of koco up", koco.context["key"])
    unknown = canaries.plant("a key that is none", f"koco_{token_urlsafe(32)}")
    password = canaries.plant("a password", token_hex(16))
    wrong = canaries.plant("a wrong password", token_hex(16))
    answers: list[httpx.Response] = []
    with koco.http() as client:
        made = client.post("/v1/keys", json={"name": "canary", "scopes": ["launch", "read"]})
        assert made.status_code == 201, made.text
        key = canaries.plant("a key", made.json()["secret"])
        made = client.post("/v1/users", json={"name": "carla", "password": password})
        assert made.status_code == 201, made.text
    with koco.http(headers={}) as client:
        for given in (wrong, password):
            login = client.post("/v1/session", json={"name": "carla", "password": given})
        assert login.status_code == 201, login.text
        session = canaries.plant("a session's token", login.json()["token"])
        bearer = {"Authorization": f"Bearer {key}"}
        app = "/v1/services/chatty/app/heard"
        for shown in (key, session, unknown):
            wrongly = {"X-Api-Key": shown, "Cookie": f"koco_session={shown}"}
            answers += [
                client.get("/v1/me", headers={"Authorization": f"Bearer {shown}"}),
                client.get("/v1/me", params={"token": shown}),
                client.get(f"/v1/executions/{shown}", headers=bearer),
                client.post(f"/v1/flows/{shown}", headers=bearer, json={}),
                client.delete(f"/v1/nothing/{shown}", headers=bearer),
                client.get(app, headers={**bearer, **wrongly}),
                client.post("/v1/flows/shared/run", headers=bearer, json={"x": [{shown: shown}]}),
                client.post("/v1/flows/shared/run", headers=bearer, content=f'{{"x": {shown}'),
                client.post(
                    "/v1/flows/shared/run",
                    headers={**bearer, "Idempotency-Key": shown},
                    json={"x": 1},
                ),
            ]
    for answer in answers:
        canaries.see(f"the answer of {answer.request.url.path[:20]}", answer.content)
    said = {answer.status_code for answer in answers}
    assert 201 not in said
    assert {200, 400, 401, 404} <= said


def look_around(koco: Koco, canaries: Canaries) -> None:
    """See all that koco and Ray show of what was there."""
    executions = [
        execution
        for name in ("chatty", "shared")
        for execution in koco.get("/v1/executions", service=name, limit=1000)["items"]
    ]
    with koco.http() as client:
        for execution in executions:
            path = f"/v1/executions/{execution['fid']}"
            canaries.see(f"the events of {execution['flow']}", client.get(f"{path}/events").content)
            canaries.see(path, client.get(path).content)
        for path in (
            *("changes", "audit", "keys", "users", "secrets", "executions", "locks", "status"),
            *("services/chatty/releases", "flows/chatty/chatty"),
        ):
            answer = client.get(f"/v1/{path}")
            assert answer.status_code == 200, answer.text
            canaries.see(path, answer.content)
    fid = next(each["fid"] for each in executions if each["service"] == "shared")
    for command in (
        *(["show", fid, "--json"], ["logs", fid], ["status", "--json"], ["audit"]),
        *(["releases", name, "1", "--json"] for name in ("badimport", "badreplica")),
        ["files", "ls", fid],
    ):
        done = koco.run(*command)
        canaries.see(f"koco {' '.join(command[:2])}", done.out + done.err)
    dashboard = f"http://127.0.0.1:{koco.context['cluster']['dashboard']}"
    token = (koco.root / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=dashboard, headers=headers, timeout=60, trust_env=False) as client:
        for what in ("tasks", "actors", "workers", "jobs", "objects", "runtime_envs"):
            answer = client.get(f"/api/v0/{what}", params={"detail": "1", "limit": "1000"})
            assert answer.status_code == 200, answer.text
            canaries.see(f"Ray's {what}", answer.content)
        canaries.see("Serve's applications", client.get("/api/serve/applications/").content)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            canaries.see(str(path), path.read_bytes())


def look_into_files(koco: Koco, canaries: Canaries) -> None:
    """See each file of koco's and Ray's, but what holds the key of `koco up` for the CLI."""
    kept = {koco.home / "contexts.toml"}
    for path in sorted(koco.root.rglob("*")):
        # What is no regular file may be a pipe, whose end nobody waits for.
        if path not in kept and path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                canaries.see(str(path.relative_to(koco.root)), path.read_bytes())


@pytest.mark.timeout(400)
def test_no_canary_is_found_anywhere(koco: Koco) -> None:
    """Neither in the store, the logs of koco and Ray, events, answers, the dashboard or /proc."""
    canaries = Canaries()
    try:
        plant_secrets(koco, canaries)
        plant_keys(koco, canaries)
        replace_secret(koco, canaries)
        # The last words of processes that crash or leave are on their way.
        time.sleep(1)
        look_around(koco, canaries)
        look_into_files(koco, canaries)
    finally:
        for name in ("chatty", "shared"):
            koco.run("undeploy", name, "--cancel", "--yes")
        koco.run("secret", "unset", "CANARY_TOKEN", "--force")
    # It was told indeed, in each of these places.
    worker = b"".join(text for where, text in canaries.seen if "worker-" in where)
    for told in (b"imported with ***", b"enter ***", b"task ***", b"boom ***", b"half ***"):
        assert told in worker, told
    assert any(b"serve ***" in text for where, text in canaries.seen if "/serve/" in where)
    assert canaries.leaks() == []
