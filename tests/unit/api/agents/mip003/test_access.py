"""Every route of MIP-003 and Sumi by caller: nothing more than `/v1` allows, and no more."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from koco.api.agents.mip003.app import make_routes
from tests.support.kodosumi_api import execute
from tests.support.mip003 import AGENT, MANIFEST, ORDER, Agents, serving_agents

START = {"identifier_from_purchaser": ORDER, "input_data": {"who": "Ada"}}


@dataclass(frozen=True)
class Call:
    """A call of a route: the scope that it takes, and whether it is about a job of Ada's."""

    method: str
    path: str
    scope: str
    is_about: bool = False
    body: Any = None
    #: Whether it answers 200 for what is not there.
    says_no: bool = False


PROVIDE = {"job_id": "{fid}", "status_id": "lock1", "input_data": {"lock1:why": "so"}}
M, S = "/mip003/svc/{flow}", "/sumi/svc/{flow}"
#: Each route, by its name; several paths of one have a number.
ROUTES = {
    "show_agent": Call("GET", M, "read"),
    "show_availability": Call("GET", f"{M}/availability", "read"),
    "show_input_schema": Call("GET", f"{M}/input_schema", "read"),
    "show_demo": Call("GET", f"{M}/demo", "read"),
    "start_job": Call("POST", f"{M}/start_job", "launch", False, START),
    "show_status": Call("GET", f"{M}/status?job_id={{fid}}", "read", True),
    "provide_input": Call("POST", f"{M}/provide_input", "launch", True, PROVIDE),
    "list_services": Call("GET", "/sumi", "read", says_no=True),
    "show_service": Call("GET", S, "read"),
    "show_sumi_availability": Call("GET", f"{S}/availability", "read", says_no=True),
    "show_sumi_schema": Call("GET", f"{S}/input_schema", "read"),
    "start_sumi_job": Call("POST", f"{S}/start_job", "launch", False, START),
    "show_sumi_status": Call("GET", f"{S}/status/{{fid}}", "read", True),
    "show_sumi_status_2": Call("GET", f"{S}/status?job_id={{fid}}", "read", True),
    "provide_sumi_input": Call("POST", f"{S}/provide_input", "launch", True, PROVIDE),
    "show_sumi_lock": Call("GET", "/sumi/lock/{fid}/lock1", "read", True),
    "answer_sumi_lock": Call(
        "POST", "/sumi/lock/{fid}/lock1", "launch", True, {"input_data": {"why": "so"}}
    ),
}
#: The scopes of each key.
KEYS = {"reader": "read", "ada": "launch", "dora": "admin"}


def ask(agents: Agents, call: Call, key: str | None, fid: str, flow: str = "greet") -> Any:
    body = call.body
    if body is not None and call.is_about:
        body = {name: fid if value == "{fid}" else value for name, value in body.items()}
    with agents.http(key) as client:
        path = call.path.format(fid=fid, flow=flow)
        return client.request(call.method, path, json=body if body is not None else None)


def made(agents: Agents, flow: str = "greet", user: str = "ada") -> str:
    """Return an execution that asks for something."""
    fid = execute(agents.api, ends=False, flow=f"svc/{flow}", user=user)
    opened = agents.api.parts.store.locks.open(fid, "lock1", name="review", data=None, expires=4e9)
    agents.api.call(opened)
    return fid


def test_every_route_is_here() -> None:
    """A new one must be asked as every caller, too."""
    known = {
        handler.fn.__name__
        for route in make_routes().routes
        for handler in getattr(route, "route_handlers", ())
    }
    assert known - {"options_handler"} == {name.removesuffix("_2") for name in ROUTES}


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_takes_its_scope(agents: Agents, name: str) -> None:
    """Nobody gets anything, and a key for other flows neither: they do not exist for it."""
    call, fid = ROUTES[name], made(agents)
    agents.api.admit("dora", "admin")
    # Without a flow in the path, nobody learns whether there is such a job.
    refusals = (200, 401) if "{flow}" in call.path else (200, 404)
    assert ask(agents, call, None, fid).status_code in refusals
    assert ask(agents, call, None, fid, "own").status_code in refusals
    assert ask(agents, call, "wrong", fid).status_code == 401
    refused = ask(agents, call, "narrow", fid)
    assert refused.status_code == (200 if call.says_no else 404), refused.text
    assert "Greeter" not in refused.text
    allowed = ask(agents, call, "reader", fid)
    if call.scope == "launch":
        assert allowed.status_code == 403
    elif call.is_about:
        assert allowed.status_code == 404  # it is Ada's job
    else:
        assert allowed.status_code == 200, allowed.text
    done = ask(agents, call, "ada", fid)
    assert done.status_code in (200, 201), done.text


@pytest.mark.parametrize("name", [name for name, call in ROUTES.items() if call.is_about])
def test_the_jobs_of_others_do_not_exist(agents: Agents, name: str) -> None:
    """For a key that does not see all, whoever's it is."""
    assert ask(agents, ROUTES[name], "bob", made(agents)).status_code == 404


@pytest.mark.parametrize("name", ROUTES)
def test_a_flow_that_is_not_offered_does_not_exist(agents: Agents, name: str) -> None:
    """Also for those who may launch it otherwise."""
    call = ROUTES[name]
    if not call.is_about and "{flow}" in call.path:
        answer = ask(agents, call, "ada", "", "own")
        assert answer.status_code == (200 if call.says_no else 404)
        if call.says_no:
            assert answer.json()["status"] == "unavailable"


@pytest.mark.parametrize("name", ROUTES)
def test_without_a_key_only_public_flows_are_there(agents: Agents, name: str) -> None:
    """And only the jobs of those who had no key either."""
    call = ROUTES[name]
    public, adas = made(agents, "open", "public"), made_apart(agents)
    answer = ask(agents, call, None, public, "open")
    assert answer.status_code in (200, 201) or name == "show_demo", answer.text
    if call.is_about:
        assert ask(agents, call, None, adas, "open").status_code == 404
    elif "{flow}" in call.path:
        assert ask(agents, call, None, "", "greet").status_code == 401
    else:
        assert [each["id"] for each in answer.json()["items"]] == ["svc/open"]


def made_apart(agents: Agents) -> str:
    return execute(agents.api, ends=False, flow="svc/open", user="ada")


@pytest.mark.parametrize("name", [name for name, call in ROUTES.items() if call.is_about])
def test_without_a_key_no_job_can_be_found(agents: Agents, name: str) -> None:
    """The answer is the same for a part of a fid, another's job, and one that does not exist."""
    call, public, adas = ROUTES[name], made(agents, "open", "public"), made(agents)
    hidden = made_apart(agents)
    found = {}
    for fid in (public[:2], public[:15], adas, adas[:2], hidden, "latest", "z" * 16):
        answer = ask(agents, call, None, fid, "open")
        found[fid] = (answer.status_code, answer.json()["detail"].replace(repr(fid), "FID"))
    assert len(set(found.values())) == 1, found
    assert found["latest"][0] == 404


def test_no_key_shares_an_idempotency_key(agents: Agents) -> None:
    """Each purchaser has the job of their own order, and learns nothing of another's."""
    header = {"Idempotency-Key": "0b9f6c1e-order-0001"}

    def start(purchaser: str, who: str) -> Any:
        body = {"identifier_from_purchaser": purchaser, "input_data": {"who": who}}
        with agents.http(None) as client:
            return client.post("/mip003/svc/open/start_job", json=body, headers=header)

    orders = [("ada", "x"), ("mallory", "x"), ("mallory", "y"), ("ada", "x")]
    answers = [start(*each) for each in orders]
    assert [each.status_code for each in answers] == [200] * 4
    jobs = [each.json()["id"] for each in answers]
    assert len(set(jobs)) == 3
    assert jobs[0] == jobs[3]


@pytest.mark.parametrize("key", ["order-1", "k" * 256, "a\tb" * 16])
def test_without_a_key_an_idempotency_key_must_be_hard_to_guess(agents: Agents, key: str) -> None:
    """Whoever guesses it, and the order, would get the job."""
    with agents.http(None) as client:
        answer = client.post(
            "/sumi/svc/open/start_job", json=START, headers={"Idempotency-Key": key}
        )
    assert answer.status_code == 400, answer.text
    assert "16 to 255" in answer.json()["detail"]


def test_a_public_job_belongs_to_the_named_key(agents: Agents) -> None:
    """The audit log has its name and the caller's address."""
    job = ask(agents, ROUTES["start_job"], None, "", "open").json()["id"]
    execution = agents.api.call(agents.api.parts.store.executions.get(job))
    assert execution.user == "public"
    agents.api.admit("dora", "admin")
    with agents.http("dora") as client:
        [entry] = client.get("/v1/audit", params={"action": "launch"}).json()["items"]
    assert (entry["who"], entry["address"], entry["target"]) == ("public", "127.0.0.1", job)


@pytest.mark.parametrize(
    ("rights", "more"),
    [
        (("launch",), {}),
        (("launch", "deploy"), {"flows": ("svc/*",)}),
        (("admin",), {"sees_all": True}),
        (("launch",), {"flows": ("svc/*",), "sees_all": True}),
        (("read",), {"flows": ("svc/*",)}),
        (("launch",), {"flows": ("other/*",)}),
        (("launch",), {"flows": ("svc/*",), "expires": 1.0}),
    ],
)
def test_a_key_that_may_more_is_nobodys(agents: Agents, rights: Any, more: Any) -> None:
    """Nor does one count that has expired, or may not launch the flow."""
    agents.api.admit("wide", *rights, **more)
    agents.api.parts.settings.mip003_key = "wide"
    answer = ask(agents, ROUTES["start_job"], None, "", "open")
    assert answer.status_code in (401, 404), answer.text


@pytest.mark.parametrize("named", ["", "nobody"])
def test_without_a_named_key_nothing_is_public(agents: Agents, named: str) -> None:
    """Whatever manifests say."""
    agents.api.parts.settings.mip003_key = named
    for name, call in ROUTES.items():
        assert ask(agents, call, None, "x" * 16, "open").status_code == 401, name


def test_revoking_the_named_key_closes_public_flows(agents: Agents) -> None:
    """At once."""
    assert ask(agents, ROUTES["show_agent"], None, "", "open").status_code == 200
    agents.api.call(agents.api.parts.keys.revoke("public"))
    assert ask(agents, ROUTES["show_agent"], None, "", "open").status_code == 401


def test_an_expired_key_closes_public_flows(agents: Agents) -> None:
    """And its name is not told to those who have none."""
    agents.api.admit("public", "launch", flows=("svc/*",), expires=1.0)
    with agents.http(None) as client:
        for path in ("/mip003/svc/open/availability", "/sumi"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert "public" not in refused.text
            assert "no key was sent" in refused.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("https://evil.test", 403),
        ("null", 403),
        ("http://[", 403),
        ("https://app.test", 200),
        ("{own}", 200),
    ],
)
def test_pages_of_other_sites_start_nothing_without_a_key(
    agents: Agents, origin: str | None, status: int
) -> None:
    """A text is posted without asking first, so a page could do it from its reader's browser."""
    agents.api.parts.settings.cors_origins = ("https://app.test",)
    headers = {"Content-Type": "text/plain"}
    headers |= {"Origin": origin.format(own=agents.api.url)} if origin else {}
    content = json.dumps(START)
    with agents.http(None) as client:
        path = "/mip003/svc/open/start_job"
        assert client.post(path, content=content, headers=headers).status_code == status
    with agents.http("ada") as client:  # a page cannot know a key
        assert client.post(path, content=content, headers=headers).status_code == 200


def test_callers_without_a_key_are_limited_by_address(agents: Agents) -> None:
    """And not as the key that all of them act as: one of them could use it up."""
    agents.api.parts.settings.key_requests_per_s = 0.5
    agents.api.parts.settings.trusted_proxies = ("127.0.0.1",)
    with agents.http(None) as client:
        for address in ("203.0.113.1", "203.0.113.2"):
            headers = {"X-Forwarded-For": address}
            path = "/mip003/svc/open"
            found = [client.get(path, headers=headers).status_code for _ in range(8)]
            assert found.count(200) == 5
            assert set(found) == {200, 429}


def test_refused_callers_without_a_key_are_counted(agents: Agents) -> None:
    """By address, and apart from callers with a key at the same one."""
    agents.api.parts.settings.key_requests_per_s = 0.5
    with agents.http(None) as client:
        for path in ("/mip003/svc/greet", "/v1/executions"):
            found = [client.get(path) for _ in range(8)]
            assert {each.status_code for each in found} <= {401, 429}
            assert found[-1].status_code == 429
            assert int(found[-1].headers["Retry-After"]) >= 1
    assert ask(agents, ROUTES["show_agent"], "ada", "").status_code == 200


def test_a_payment_is_seen_by_whoever_ordered_it(agents: Agents) -> None:
    """And by those who see all, before there is an execution."""
    job = ask(agents, ROUTES["start_job"], "ada", "", "paid").json()["id"]
    agents.api.admit("dora", "admin")
    status = ROUTES["show_status"]
    assert ask(agents, status, "ada", job, "paid").json()["status"] == "awaiting_payment"
    assert ask(agents, status, "dora", job, "paid").status_code == 200
    for key in ("bob", "reader", "narrow"):
        assert ask(agents, status, key, job, "paid").status_code == 404
    assert ask(agents, status, "ada", job, "greet").status_code == 404
    assert ask(agents, status, "ada", job[:8], "paid").status_code == 404


@pytest.mark.parametrize("trouble", ["away", "broken", "token", "none"])
def test_without_a_key_nobody_learns_of_the_payment_service(tmp_path: Path, trouble: str) -> None:
    """Neither where it is nor what it says; the log does."""
    terms = {"flow": "paid", "agent_identifier": AGENT, "public": True}
    with serving_agents(tmp_path, {**MANIFEST, "mip003": [terms]}) as agents:
        settings, service = agents.api.parts.settings, agents.service
        settings.masumi_url = {"away": "http://127.0.0.1:9/api", "none": ""}.get(
            trouble, service.url
        )
        service.broken = {"broken": 500, "token": 401}.get(trouble, 0)
        nobodys, adas = (ask(agents, ROUTES["start_job"], key, "", "paid") for key in (None, "ada"))
        assert nobodys.status_code == 503
        assert nobodys.json()["detail"] == "jobs cannot be paid at the moment"
        assert "payment service" in adas.text


def test_the_name_of_a_hidden_flow_is_not_told(agents: Agents) -> None:
    """Although a service's only flow is found by the service's name."""
    catalog = agents.api.parts.catalog
    release = catalog.release("svc")
    only = [each for each in release.flows if each.name == "greet"]
    catalog.put(msgspec.structs.replace(release, flows=only))
    with agents.http("narrow") as client:
        for path in ("", "/input_schema", "/availability", "/status/x"):
            assert "greet" not in client.get(f"/sumi/svc{path}").text


def test_no_cache_keeps_what_is_private(agents: Agents) -> None:
    """Neither answers nor refusals."""
    with agents.http() as client:
        for path in ("/mip003/svc/greet", "/mip003/svc/own", "/sumi", "/sumi/svc/nobody"):
            assert client.get(path).headers["cache-control"] == "no-store", path


def test_other_paths_are_not_taken(agents: Agents) -> None:
    """Only those of the two protocols."""
    with agents.http() as client:
        for path in ("/mip003", "/sumix", "/mip003/svc", "/mip003/svc/greet/nobody"):
            answer: httpx.Response = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
