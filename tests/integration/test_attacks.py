"""Attacks on a whole koco: as nobody, with keys that may less, and by what they bring.

Each asks what the attacker gets, and whether the control plane is well afterwards.
`tests/unit/api/http/test_auth.py` has every route with every scope; the unit tests named
`test_hostile_*` and `test_odd_*` need no cluster.
"""

import contextlib
import hashlib
import http.client
import json
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from koco.bootstrap.local_head import mark_of, marked
from koco.sdk.endpoint import signing
from tests.integration.test_endpoints import serve_details
from tests.support.driver import Koco, calm_s, eventually, zipped

CODE = """
import fastapi

from koco import Launch, ServeAPI

app = ServeAPI()


@app.enter("/")
def enter(request, inputs):
    return Launch(request, ask, inputs=inputs)


@app.get("/me")
def me(request: fastapi.Request):
    return {"user": request.state.user, "headers": dict(request.headers)}


async def ask(inputs, tracer):
    await tracer.debug("the canary sings")
    return await tracer.lock("approval", {"q": "ok?"}, timeout=600)


def echo(inputs):
    return inputs
"""

#: What is hers, and shows up nowhere else.
CANARY = "canary-8f3a"


@pytest.fixture(scope="module")
def target(koco: Koco) -> Koco:
    flows = [{"name": "echo", "entrypoint": "target_app:echo"}]
    return koco.deploy("target", CODE, app="target_app:app", flows=flows)


@pytest.fixture(autouse=True)
def _stays_well(koco: Koco) -> Iterator[None]:
    pid = koco.control_pid()
    yield
    with koco.http() as client:
        assert client.get("/health").json()["store"] == "ok"
    assert koco.control_pid() == pid, "the control plane died of it"


def caller(koco: Koco, name: str, *scopes: str, **more: Any) -> httpx.Client:
    """Return a client with a new key."""
    with koco.http() as admin:
        body = {"name": f"{name}-{time.time_ns()}", "scopes": scopes, **more}
        answer = admin.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    return koco.http(headers={"Authorization": f"Bearer {answer.json()['secret']}"})


@pytest.fixture(scope="module")
def hers(target: Koco) -> Iterator[tuple[str, httpx.Client, str]]:
    """An execution of Ada's that waits for her, with a file; her client; the file's hash."""
    content = CANARY.encode() * 100
    sha256 = hashlib.sha256(content).hexdigest()
    with caller(target, "ada", "read", "launch") as ada:
        length = str(len(content))
        place = {"Upload-Offset": "0", "Upload-Length": length}
        assert ada.patch(f"/v1/blobs/{sha256}", content=content, headers=place).status_code == 204
        answer = ada.post(
            "/v1/services/target/app/", json={"x": CANARY}, headers={"Idempotency-Key": "hers"}
        )
        assert answer.status_code == 201, answer.text
        fid = answer.json()["result"]
        file = {"sha256": sha256, "size_bytes": len(content)}
        path = f"/v1/executions/{fid}/files/in/{CANARY}.txt"
        assert ada.put(path, json=file).status_code == 200
        eventually(lambda: ada.get(f"/v1/executions/{fid}").json()["status"] == "awaiting")
        yield fid, ada, sha256
        ada.post(f"/v1/executions/{fid}/cancel")


SCOPES: list[tuple[str, ...]] = [("read",), ("launch",), ("read", "launch", "deploy")]


@pytest.mark.parametrize("scopes", [(), *SCOPES], ids=lambda each: "+".join(each) or "nobody")
def test_what_is_somebody_elses_is_not_there(
    target: Koco, hers: tuple[str, httpx.Client, str], scopes: tuple[str, ...]
) -> None:
    """By no name, no list, no cursor, no search, no feed and no hash; and nothing of it changes."""
    fid, ada, sha256 = hers
    one = f"/v1/executions/{fid}"
    before = ada.get(one).json()
    asked: list[tuple[str, str, dict[str, Any]]] = [
        *(("GET", f"/v1/executions/{name}", {}) for name in (fid, fid[:6], "latest")),
        ("GET", one, {"headers": {"If-None-Match": ada.get(one).headers.get("etag", '"x"')}}),
        ("HEAD", one, {}),
        ("GET", f"{one}/events", {}),
        ("GET", f"{one}/events?follow=1", {"headers": {"Accept": "text/event-stream"}}),
        ("GET", f"{one}/result", {}),
        ("GET", f"{one}/locks", {}),
        ("GET", f"{one}/locks/approval", {}),
        ("GET", f"{one}/files", {}),
        ("GET", f"{one}/files/in/{CANARY}.txt", {}),
        ("POST", f"{one}/locks/approval", {"json": True}),
        ("POST", f"{one}/cancel", {}),
        ("POST", f"{one}/retry", {}),
        ("DELETE", one, {}),
        ("DELETE", f"{one}/files/in/{CANARY}.txt", {}),
        ("PUT", f"{one}/files/in/x", {"json": {"sha256": sha256, "size_bytes": 1}}),
        ("GET", "/v1/executions", {}),
        ("GET", f"/v1/executions?search={CANARY}", {}),
        ("GET", f"/v1/executions?user={before['user']}", {}),
        ("GET", "/v1/executions?status=awaiting", {}),
        ("GET", "/v1/executions?cursor=999999", {}),
        ("GET", "/v1/locks", {}),
        ("GET", "/v1/locks?flow=target/target", {}),
        ("GET", "/v1/changes", {}),
    ]
    with caller(target, "eve", *scopes) if scopes else target.http(headers={}) as eve:
        for method, path, more in asked:
            answer = eve.request(method, path, **more)
            refused = {401, 429} if not scopes else {200, 403, 404}
            assert answer.status_code in refused, (method, path, answer.text)
            if path.startswith("/v1/executions/"):
                assert answer.status_code != 200, (method, path)
            else:
                assert fid not in answer.text, (method, path)
            # A refusal repeats what was asked for, and tells nothing more.
            assert CANARY not in answer.text.replace(path, ""), (method, path)
        if "launch" in scopes:
            # Her hash is not hers to name, and her idempotency key not hers to use.
            again = {"Idempotency-Key": "hers"}
            mine = eve.post("/v1/services/target/app/", json={"x": CANARY}, headers=again)
            assert mine.status_code == 201
            own = f"/v1/executions/{mine.json()['result']}"
            assert own != one
            file = {"sha256": sha256, "size_bytes": len(CANARY) * 100}
            assert eve.put(f"{own}/files/in/stolen", json=file).status_code == 404
            assert eve.head(f"/v1/blobs/{sha256}").headers["upload-offset"] == "0"
            eve.post(f"{own}/cancel")
    assert ada.get(one).json() == before


def test_nothing_but_what_was_signed_just_now_passes_at_serves_own_port(target: Koco) -> None:
    """Stripped, forged, changed, expired, of another release, and the same once more: 401."""
    release = target.get("/v1/services/target")["release"]
    port = serve_details(target)["http_options"]["port"]
    base = f"http://127.0.0.1:{port}/koco/target/{release}"
    # As the control plane does: whoever can read its store can sign.
    secret = target.own_secrets()["endpoints"]
    key = signing.key_for(secret, "target", release)

    def ask(
        headers: dict[str, str], path: str = "/me", method: str = "GET", body: bytes = b""
    ) -> int:
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.request(method, base + path, headers=headers, content=body).status_code

    def signed(path: str = "/me", method: str = "GET", body: bytes = b"") -> dict[str, str]:
        return signing.sign(key, method, path, body=body, user="ada")

    good = signed()
    assert ask(good) == 200
    assert ask(good) == 401, "replayed"
    assert ask({}) == 401
    for name in signing.HEADERS - {signing.FID}:
        assert ask({each: text for each, text in signed().items() if each != name}) == 401, name
        assert ask({**signed(), name: "0" * 24}) == 401, name
    assert ask({**signed(), signing.FID: "another"}) == 401
    assert ask({**signed(), signing.USER: b"admin".hex()}) == 401
    assert ask(signed(), path="/openapi.json") == 401
    assert ask(signed(), path="/me?admin=1") == 401
    assert ask(signed(), method="DELETE") == 401
    body = b'{"x": 1}'
    assert ask(signed("/", "POST", body), "/", "POST", b'{"x": 2}') == 401
    other = signing.key_for(secret, "target", release + 1)
    assert ask(signing.sign(other, "GET", "/me", body=b"", user="ada")) == 401
    old = {**signed(), signing.TIME: f"{time.time() - 120:.3f}"}
    old[signing.SIGNATURE] = signing._signature(key, "GET", "/me", old)
    assert ask(old) == 401
    ahead = {**signed(), signing.TIME: f"{time.time() + 120:.3f}"}
    ahead[signing.SIGNATURE] = signing._signature(key, "GET", "/me", ahead)
    assert ask(ahead) == 401
    assert ask(signed()) == 200


def test_a_service_is_told_nothing_of_its_callers_credentials(target: Koco) -> None:
    """Neither the key nor cookies, nor what the caller says of who they are."""
    says = {"Cookie": "koco=secret", "X-Koco-User": "61", "X-Forwarded-User": "root"}
    says |= {"X-Koco-Signature": "0" * 64, "Proxy-Authorization": "Basic eDp5", "Remote-User": "x"}
    with target.http() as client:
        told = client.get("/v1/services/target/app/me", headers=says).json()
    assert told["user"] == "admin"
    text = json.dumps(told)
    assert target.context["key"] not in text
    for name, value in says.items():
        assert value not in text or value in ("x", "61"), name
        assert name.lower() not in told["headers"], name


#: Bodies that are no JSON, or more than anybody should make objects of.
JSON = {
    "deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "open": b"[" * 1_000_000,
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "exponent": b'{"a": 1e400}',
    "digits": b'{"a": ' + b"9" * 100_000 + b"}",
    "fraction": b'{"a": 0.' + b"9" * 100_000 + b"}",
    "large": b'{"a": 18446744073709551616}',
    "utf-8": b'{"a": "\xff\xfe"}',
    "overlong": b'{"a": "\xc0\xaf"}',
    "surrogate": b'{"a": "\\ud800"}',
    "surrogate in utf-8": b'{"a": "\xed\xa0\x80"}',
    "surrogate name": b'{"\\udfff": 1}',
    "nul": b'{"a": "\\u0000", "\\u0000": 1}',
    "bom": b'\xef\xbb\xbf{"a": 1}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "list": b"[]",
    "null": b"null",
    "twice": b"{} {}",
    "names": json.dumps({str(number): number for number in range(50_000)}).encode(),
    "prototype": b'{"__proto__": {"x": 1}, "__class__": "x"}',
}
CHANGES = [
    *(("POST", path) for path in ("/v1/flows/target/echo", "/v1/executions/latest/cancel")),
    *(("POST", path) for path in ("/v1/keys", "/v1/users", "/v1/session", "/v1/plan")),
    *(("POST", f"/v1/services/target/{path}") for path in ("releases", "rollback", "app/nothing")),
    *(("PUT", path) for path in ("/v1/secrets/X", "/v1/executions/latest/files/in/x")),
    ("POST", "/v1/executions/latest/locks/approval"),
]


@pytest.mark.parametrize("name", JSON)
def test_no_json_is_more_than_a_refusal(target: Koco, name: str) -> None:
    """Wherever it is sent: 4xx, or taken as what it is; never a failure of the control plane."""
    with target.http() as client:
        for method, path in CHANGES:
            headers = {"Content-Type": "application/json"}
            answer = client.request(method, path, content=JSON[name], headers=headers)
            assert answer.status_code < 500, (path, answer.text)
            taken = path.endswith("echo") and answer.status_code == 201
            assert taken or answer.status_code >= 400, (path, answer.text)
            assert "Traceback" not in answer.text


#: Filters that compare a whole name.
_NAMES = ("flow", "service", "user", "who", "tag")


@pytest.mark.parametrize(
    "text",
    [
        *("' OR '1'='1", "'; DROP TABLE executions; --", "1 UNION SELECT value FROM secrets"),
        *('" OR ""="', "%", "_", "*", "x'00'", "\\", "(" * 200, "NEAR(a b)", 'a" AND b', "^a", "-"),
        *(
            "a:b",
            "\0",
            "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
            "9" * 400,
        ),
    ],
)
def test_sql_in_a_filter_is_text(target: Koco, text: str) -> None:
    """In each parameter of each list, as the API's own document names them."""
    with target.http() as client:
        document = client.get("/openapi.json").json()
        names = {
            path: [each["name"] for each in operations["get"].get("parameters", ())]
            for path, operations in document["paths"].items()
            # The values of a release's secrets are given to its own token only.
            if "get" in operations and "{" not in path and path != "/v1/values"
        }
        for path, parameters in names.items():
            for name in set(parameters) - {"follow", "wait", "X-Request-ID"}:
                answer = client.get(path, params={name: text})
                assert answer.status_code in (200, 304, 400, 404), (path, name, answer.text)
                if answer.status_code != 200 or name not in _NAMES:
                    continue
                if "ndjson" in answer.headers["content-type"]:
                    assert '"fid"' not in answer.text, (path, name)
                else:
                    assert answer.json()["items"] == [], (path, name)
        assert client.get("/v1/executions").status_code == 200


def test_ten_thousand_wrong_keys_cost_little_and_keep_nobody_out(target: Koco) -> None:
    """Not the memory, not the audit log, and not whoever has a key at the same address."""
    url = urlsplit(target.context["url"])
    [before_kb], pid = _rss(target), target.control_pid()
    entries = _unknown(target)

    def guess(first: int) -> set[int]:
        found = set()
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
        for number in range(first, first + 2500):
            headers = {"Authorization": f"Bearer koco_{number:043d}"}
            connection.request("GET", "/v1/executions", headers=headers)
            answer = connection.getresponse()
            answer.read()
            found.add(answer.status)
        connection.close()
        return found

    began = calm_s()
    with ThreadPoolExecutor(4) as pool:
        guessing = [pool.submit(guess, 2500 * number) for number in range(4)]
        slowest = 0.0
        with target.http() as client:
            while not all(each.done() for each in guessing):
                asked = time.monotonic()
                assert client.get("/v1/executions?limit=1").status_code == 200
                slowest = max(slowest, time.monotonic() - asked)
        assert set.union(*(each.result() for each in guessing)) <= {401, 429}
    assert calm_s() - began < 60
    assert slowest < 2
    assert _rss(target)[0] - before_kb < 20_000
    # The first of a minute, and its sums: of those told 401, and of those told 429. Where that
    # first one was an earlier test's, nothing is written before the minute is over.
    assert _unknown(target) - entries <= 6
    assert target.control_pid() == pid


def _unknown(koco: Koco) -> int:
    """Return how many entries of the audit log are about lists that nobody known asked for."""
    items = koco.get("/v1/audit", action="list_executions", limit=1000)["items"]
    return sum(not item["who"] for item in items)


def _rss(koco: Koco) -> list[int]:
    text = Path(f"/proc/{koco.control_pid()}/status").read_text()
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")]


def test_a_login_is_held_up_after_failures_and_its_cookie_helps_no_other_site(target: Koco) -> None:
    """Passwords that are guessed get 429; a page elsewhere can use nobody's session."""
    password = "correct horse battery staple"
    with target.http() as admin:
        body = {"name": "victim", "password": password, "scopes": ["read", "launch"]}
        assert admin.post("/v1/users", json=body).status_code == 201
    try:
        with target.http(headers={}) as client:
            login = {"name": "victim", "password": password, "cookie": True}
            assert client.post("/v1/session", json=login).status_code == 201
            there = {"Origin": "https://evil.test"}
            assert client.post("/v1/flows/target/echo", json={}, headers=there).status_code == 403
            assert client.get("/v1/executions").status_code == 200
        with target.http(headers={}) as client:
            tried = [
                client.post("/v1/session", json={"name": "victim", "password": f"guess {number}"})
                for number in range(12)
            ]
            assert {each.status_code for each in tried} == {401, 429}
            assert tried[-1].status_code == 429
            assert int(tried[-1].headers["retry-after"]) >= 1
        log = target.run("audit", "--action", "create_session", "--json").ok().out
        assert password not in log
        assert "guess" not in log
    finally:
        with target.http() as admin:
            admin.delete("/v1/users/victim")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"app.py": "", "../../evil.py": "x"}, "leads out of it"),
        ({"app.py": "", "/tmp/evil.py": "x"}, "not a path within it"),
        ({"a/../../evil.py": "x"}, "leads out of it"),
    ],
)
def test_a_bundle_that_leads_out_makes_no_release(
    target: Koco, files: dict[str, str], said: str
) -> None:
    """It may be uploaded, and is refused where it would be unpacked."""
    data, sha256 = zipped(files)
    answer = _deploy(target, data, sha256)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_a_bundle_is_what_its_name_says(target: Koco) -> None:
    """Else somebody's code would run under the name of reviewed code."""
    data, _ = zipped({"app.py": "evil"})
    good = hashlib.sha256(b"reviewed").hexdigest()
    place = {"Upload-Offset": "0", "Upload-Length": str(len(data))}
    with target.http() as client:
        answer = client.patch(f"/v1/bundles/{good}", content=data, headers=place)
        assert answer.status_code == 400
        assert client.head(f"/v1/bundles/{good}").headers["upload-complete"] == "?0"
        for name in ("../../store.db", "..%2f..%2fstore.db", "store.db", good.upper(), good[:-1]):
            assert client.head(f"/v1/bundles/{name}").status_code in (400, 404)
            assert client.get(f"/bundles/{'0' * 32}/{name}.zip").status_code in (400, 404)
    assert _deploy(target, b"no zip", hashlib.sha256(b"no zip").hexdigest()).status_code == 400


def _deploy(koco: Koco, data: bytes, sha256: str) -> httpx.Response:
    manifest = {"service": "evil", "flows": [{"name": "f", "entrypoint": "app:f"}]}
    place = {"Upload-Offset": "0", "Upload-Length": str(len(data))}
    with koco.http() as client:
        client.patch(f"/v1/bundles/{sha256}", content=data, headers=place)
        body = {"manifest": manifest, "bundle": sha256}
        return client.post("/v1/services/evil/releases", json=body)


def test_nothing_can_be_reached_from_another_machine(target: Koco) -> None:
    """Everything listens on loopback: Ray, the control plane, Serve, runners, replicas, agents."""
    found: dict[str, set[str]] = {}
    for process, _ in marked(mark_of(target.home)):
        with contextlib.suppress(psutil.Error):
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN:
                    found.setdefault(each.laddr.ip, set()).add(" ".join(process.cmdline())[:60])
    assert {name for names in found.values() for name in names if "Replica" in name}
    assert found.keys() <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_other_users_of_the_machine_read_nothing(target: Koco) -> None:
    """The store, its key, bundles, blobs, logs and contexts are their owner's alone."""
    for path in (target.home, *target.home.rglob("*")):
        # What is in a folder that nobody else enters is safe whatever it says of itself.
        if path == target.home / "local" or path.parent == target.home:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_was_done_and_refused_here_is_in_the_audit_log(target: Koco) -> None:
    """Who, what, on what, from where, and what came of it; no secret among it."""
    with caller(target, "mallory", "read") as mallory:
        mallory.delete("/v1/services/target")
    items = target.run("audit", "--since", "1h", "--limit", "1000", "--json").ok().json()["items"]
    last = items[0]
    assert (last["action"], last["target"], last["outcome"]) == (
        "undeploy",
        "target",
        "not_allowed",
    )
    assert last["who"].startswith("mallory-")
    assert last["address"] == "127.0.0.1"
    actions = {item["action"] for item in items}
    assert {"create_release", "create_key", "undeploy"} <= actions
    by_up = target.run("audit", "--who", "the head's user", "--json").ok().json()["items"]
    assert (by_up[-1]["action"], by_up[-1]["target"]) == ("create_key", "admin")
    assert "koco_" not in json.dumps([*items, *by_up])


CLIMBER = """
def climb(digest):
    import ray

    from koco.sdk.process import control_client

    actor = next(iter(control_client.find_planes().values()))
    asked = {
        "admit": actor.admit.remote(bytes.fromhex(digest), recover=False),
        "recover": actor.admit.remote(bytes.fromhex(digest), recover=True),
        "configure": actor.configure.remote({"cors_origins": ["https://evil.example"]}),
        "operate": actor.operate.remote(b"\\x93\\xa5admit\\xc4\\x00\\x80"),
    }
    told = {}
    for name, answer in asked.items():
        try:
            told[name] = ray.get(answer)
        except Exception as exc:
            told[name] = type(exc.cause).__name__
    return told
"""


def test_code_in_the_cluster_is_no_admin_and_the_log_says_that_it_tried(koco: Koco) -> None:
    """What any service's code may call makes no key, sets nothing, and is not told as `koco up`."""
    app = koco.deploy("climber", CLIMBER)
    secret = "koco_" + "x" * 43
    before = koco.get("/v1/audit", who="the head's user")["items"]
    ended = app.execute("climb", digest=hashlib.sha256(secret.encode()).hexdigest())
    refused = "NotAllowedError"
    wanted = {"admit": False, "recover": refused, "configure": refused, "operate": refused}
    assert ended.result == wanted
    with koco.http(headers={"Authorization": f"Bearer {secret}"}) as client:
        # Other tests' attempts from this address may have been too many.
        while (answer := client.get("/v1/me")).status_code == 429:
            time.sleep(int(answer.headers["Retry-After"]))
        assert answer.status_code == 401
    assert koco.get("/v1/status")["settings"]["cors_origins"] == []
    assert koco.get("/v1/audit", who="the head's user")["items"] == before
    tried = koco.get("/v1/audit", who="code in the cluster")["items"]
    assert tried and {each["outcome"] for each in tried} == {"not_allowed"}
    # Who has the proof is let through, and told as who it is.
    koco.run("up", "--set", "max_queue=100000").ok()
    last = koco.get("/v1/audit")["items"][0]
    assert (last["who"], last["action"], last["target"]) == ("the head's user", "set", "max_queue")
    koco.run("up", "--set", "max_queue=0").ok()
