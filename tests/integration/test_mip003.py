"""MIP-003 and Sumi on a real Ray: from an order to a submitted result, and a service of Kodosumi's.

The payment service is the tests' own; `test_masumi` shows that Masumi's client takes it for real.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.driver import Koco, eventually, kill9
from tests.support.masumi_service import TOKEN, PaymentService, serving_payments

CODE = """
    from koco import response

    async def greet(inputs, tracer):
        return response.Markdown(f'# Hello "{inputs["who"]}"')
"""
FORM = [{"type": "text", "name": "who", "required": True}]
MIP003: list[dict[str, Any]] = [
    {"flow": "greet", "agent_identifier": "a" * 60, "public": True},
    {"flow": "free", "public": True},
]

KODOSUMIS = """
    import fastapi
    from ray import serve
    from kodosumi import response
    from kodosumi.core import InputsError, Launch, ServeAPI, Tracer, forms as F

    app = ServeAPI()

    @app.enter(
        "/",
        model=F.Model(
            F.Markdown("# Reports"),
            F.InputText(name="topic", label="Topic"),
            F.Checkbox(name="short", label="Short", value=False),
            F.Select(name="tone", option=[F.InputOption(name="kind"), F.InputOption(name="harsh")]),
            F.Submit("Go"),
        ),
        summary="Reporter",
        tags=["reports"],
    )
    async def enter(request: fastapi.Request, inputs: dict):
        if not inputs["topic"]:
            raise InputsError(topic="Please give me a topic.")
        return Launch(request, "sumi_app:work", inputs=inputs)

    async def work(inputs: dict, tracer: Tracer):
        answer = await tracer.lock("approval", data={"topic": inputs["topic"]})
        return response.Markdown(f"{inputs['topic']} {inputs['tone']} {inputs['short']} {answer}")

    @app.lock("approval")
    async def approval(data: dict):
        return F.Model(F.Markdown(data["topic"]), F.Checkbox(name="ok"))

    @app.lease("approval")
    async def approved(inputs: dict):
        return bool(inputs["ok"])

    @serve.deployment
    @serve.ingress(app)
    class Reports:
        pass

    fast_app = Reports.bind()
"""


@pytest.fixture(scope="module")
def plane(koco: Koco) -> Iterator[tuple[Koco, PaymentService]]:
    """Deploy a service, and name a payment service and a key of the public."""
    with serving_payments() as service:
        flows = [
            {"name": name, "entrypoint": "mip_app:greet", "inputs": FORM}
            for name in ("greet", "free")
        ]
        koco.deploy("mip", CODE, flows=flows, mip003=MIP003)
        koco.run("secret", "set", "MASUMI_PAYMENT_TOKEN", stdin=TOKEN).ok()
        koco.run("key", "create", "masumi", "--scope", "launch", "--flow", "mip/*").ok()
        settings = [f"masumi_url={service.url}", "masumi_poll_s=0.2", "mip003_key=masumi"]
        koco.run("config", "set", *settings).ok()
        yield koco, service
        koco.run("config", "unset", "masumi_url", "masumi_poll_s", "mip003_key").ok()
        koco.run("key", "revoke", "masumi").ok()
        koco.run("secret", "unset", "MASUMI_PAYMENT_TOKEN").ok()


def nobody(koco: Koco) -> httpx.Client:
    """Return a client without a key, as Masumi's are."""
    return httpx.Client(base_url=koco.context["url"], trust_env=False, timeout=60)


def status(client: httpx.Client, base: str, job: str) -> dict[str, Any]:
    """Return the status of a job, also of a control plane that comes back."""
    try:
        found: dict[str, Any] = client.get(f"{base}/status", params={"job_id": job}).json()
    except httpx.HTTPError:
        return {"status": "nobody answers"}
    return found


def test_a_paid_job_survives_the_control_plane(plane: tuple[Koco, PaymentService]) -> None:
    """Killed before the money arrives, and after it: launched once, and its result submitted."""
    koco, service = plane
    order = "00112233445566"
    with nobody(koco) as client:
        body = {"identifier_from_purchaser": order, "input_data": {"who": "Ada"}}
        job = client.post("/mip003/mip/greet/start_job", json=body).json()
        base, fid = "/mip003/mip/greet", str(job["id"])
        assert status(client, base, fid)["status"] == "awaiting_payment"
        kill9(koco.control_pid())
        eventually(lambda: status(client, base, fid).get("status") == "awaiting_payment")
        service.pay()
        kill9(koco.control_pid())
        shown = eventually(
            lambda: (now := status(client, base, fid)).get("status") == "completed" and now
        )
    text = '# Hello "Ada"'
    assert shown["result"] == text
    expected = hashlib.sha256(f"{order};{text}".encode()).hexdigest()
    eventually(lambda: service.results == {job["blockchainIdentifier"]: expected})
    with koco.http() as admin:
        listed = admin.get("/v1/executions", params={"flow": "mip/greet"}).json()["items"]
    assert [(each["fid"], each["user"]) for each in listed] == [(fid, "masumi")]


def test_a_free_job_runs_for_nobody_in_particular(plane: tuple[Koco, PaymentService]) -> None:
    """From the schema to the result, without a key; what is not public stays closed."""
    koco, _ = plane
    with nobody(koco) as client:
        assert client.get("/mip003/mip/free/availability").json()["status"] == "available"
        [field] = client.get("/mip003/mip/free/input_schema").json()["input_data"]
        body = {"identifier_from_purchaser": "x", "input_data": {field["id"]: "Bo"}}
        job = client.post("/mip003/mip/free/start_job", json=body).json()["id"]
        shown = eventually(
            lambda: (
                (now := status(client, "/mip003/mip/free", job))["status"] == "completed" and now
            )
        )
        assert shown["result"] == '# Hello "Bo"'
        assert client.get("/v1/flows").status_code == 401
        assert client.get(f"/v1/executions/{job}").status_code == 401


def test_a_service_of_kodosumis_is_called_over_sumi(plane: tuple[Koco, PaymentService]) -> None:
    """Unchanged, but for one line in its manifest: its form, its lock and its result."""
    koco, _ = plane
    manifest = {"flows": [], "runtime": {"kodosumi": True}, "mip003": [{"flow": "sumi"}]}
    koco.deploy("sumi", KODOSUMIS, app="sumi_app:fast_app", **manifest)
    with koco.http() as client:

        def look(job: str) -> dict[str, Any]:
            found: dict[str, Any] = client.get(f"/sumi/sumi/status/{job}").json()
            return found

        [item] = client.get("/sumi", params={"expose": "sumi"}).json()["items"]
        assert (item["id"], item["name"], item["display"]) == ("sumi", "", "Reporter")
        fields = client.get("/sumi/sumi/input_schema").json()["input_data"]
        assert [each["id"] for each in fields] == ["info", "topic", "short", "tone"]
        body = {"identifier_from_purchaser": "x", "input_data": {"topic": ""}}
        refused = client.post("/sumi/sumi/start_job", json=body).json()
        assert refused["status"] == "failed"
        assert "Please give me a topic." in refused["error"]
        body["input_data"] = {"topic": "bees", "tone": [1], "short": True}
        job = client.post("/sumi/sumi/start_job", json=body).json()["job_id"]
        shown = eventually(lambda: (now := look(job))["status"] == "awaiting_input" and now)
        [group] = shown["input_schema"]["input_groups"]
        answer = {"job_id": job, "input_data": {f"{group['id']}:ok": True}}
        assert client.post("/sumi/sumi/provide_input", json=answer).status_code == 201
        shown = eventually(lambda: (now := look(job))["status"] == "completed" and now)
        assert shown["result"] == "bees harsh True True"
