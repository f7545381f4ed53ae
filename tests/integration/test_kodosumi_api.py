"""A client that speaks only Kodosumi's HTTP API, on a real Ray: from login to result."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.driver import Koco, eventually
from tests.support.kodosumi_client import KodosumiClient, field_of

SERVICE = """
import fastapi
from ray import serve

from kodosumi import response
from kodosumi.core import InputsError, Launch, ServeAPI, Tracer, forms as F

app = ServeAPI()


@app.enter(
    "/",
    model=F.Model(
        F.Markdown("# Reports"),
        F.Errors(),
        F.InputText(name="topic", label="Topic", placeholder="bees"),
        F.Checkbox(name="short", label="Short", option="SHORT", value=True),
        F.InputFiles(name="notes", multiple=True),
        F.Submit("Go"),
    ),
    summary="Reporter",
    description="Writes reports.",
    author="a@b.c",
    version="1.2",
    tags=["reports", "demo"],
)
async def enter(request: fastapi.Request, inputs: dict):
    if not inputs["topic"]:
        raise InputsError("Nothing to report.", topic="Please give me a topic.")
    return Launch(request, "report_app:work", inputs=inputs)


async def work(inputs: dict, tracer: Tracer):
    print("working on", inputs["topic"])
    await tracer.markdown("# Notes", "two lines")
    await tracer.result({"short": inputs["short"], "names": sorted(inputs["notes"] or [])})
    fs = await tracer.fs()
    texts = []
    for each in await fs.ls("in"):
        texts.append((await fs.open(each["path"]).read_all()).decode())
    with open("report.md", "w") as file:
        file.write(f"# {inputs['topic']}: {' '.join(texts)}")
    await fs.upload("report.md")
    await fs.close()
    answer = await tracer.lock("approval", data={"topic": inputs["topic"]})
    return response.Markdown(f"**{answer['text']}**: [report](/files/{tracer.fid}/out/report.md)")


@app.lock("approval")
async def approval(data: dict):
    return F.Model(
        F.Markdown(f"# {data['topic']}?"), F.InputText(name="text"), F.Checkbox(name="ok")
    )


@app.lease("approval")
async def approved(inputs: dict):
    if not inputs["ok"]:
        raise InputsError("It must be approved.")
    return inputs


@serve.deployment
@serve.ingress(app)
class Reports:
    pass


fast_app = Reports.bind()
"""

NATIVE = """
    def double(inputs):
        return inputs["n"] * 2
"""
FORM = [{"type": "number", "name": "n", "required": True}]

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def client(koco: Koco) -> Iterator[KodosumiClient]:
    """Deploy two services, allow Kodosumi's API and log in as a new user."""
    koco.deploy("report", SERVICE, app="report_app:fast_app", flows=[], runtime={"kodosumi": True})
    flows = [{"name": "double", "entrypoint": "twice_app:double", "inputs": FORM}]
    koco.deploy("twice", NATIVE, flows=flows)
    koco.run("up", "--set", "kodosumi_api=true").ok()
    with koco.http() as admin:
        user = {"name": "eve", "password": PASSWORD, "scopes": ["launch"]}
        admin.post("/v1/users", json=user).raise_for_status()
        client = KodosumiClient(koco.context["url"])
        client.log_in("eve", PASSWORD)
        yield client
        client.http.post("/logout").raise_for_status()
        client.close()
        admin.delete("/v1/users/eve").raise_for_status()
    koco.run("up", "--set", "kodosumi_api=false").ok()


def wait_for(client: KodosumiClient, fid: str, *statuses: str) -> dict[str, Any]:
    """Return the status of an execution once it is one of some."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/outputs/status/{fid}", extended="true")
        return found if found["status"] in statuses else None

    reached: dict[str, Any] = eventually(look)
    return reached


def test_from_listing_to_result(client: KodosumiClient) -> None:
    """A service of Kodosumi's, with a file, a lock, a stream, a report and its deletion."""
    listed = {each["summary"]: each for each in client.get("/flow", pp=100)["items"]}
    assert {"Reporter", "double"} <= listed.keys()
    assert client.get("/flow/tags")["reports"] == 1
    url = listed["Reporter"]["url"]
    form = client.get(url)
    assert (form["summary"], form["openapi_extra"]["x-version"]) == ("Reporter", "1.2")
    names = [each["name"] for each in form["elements"] if each.get("name")]
    assert names == ["topic", "short", "notes"]

    refused = client.post(url, {"topic": ""})
    assert refused["errors"]["topic"] == ["Please give me a topic."]
    assert refused["errors"]["_global_"] == ["Nothing to report."]
    assert refused["elements"] == form["elements"]

    batch = client.post("/files/init_batch", status=201)["batch_id"]
    upload = client.upload("a.txt", [b"hello ", b"world"], batch)
    notes = field_of(batch, {upload: ("a.txt", 2)})
    body = {"topic": "bees", "short": "on", "notes": notes, "unknown": 1}
    fid = client.post(url, body)["result"]

    waiting = wait_for(client, fid, "awaiting", "error")
    assert waiting["status"] == "awaiting", waiting
    [lid] = waiting["locks"]
    elements = client.get(f"/lock/{fid}/{lid}")
    assert elements[0] == {"type": "markdown", "text": "# bees?"}
    assert "_global_" in client.post(f"/lock/{fid}/{lid}", {"text": "no"})["errors"]
    answer = client.post(f"/lock/{fid}/{lid}", {"text": "fine", "ok": "on"})
    assert answer["result"] == {"text": "fine", "ok": True}

    ended = wait_for(client, fid, "finished", "error")
    text = f"**fine**: [report](/files/{fid}/out/report.md)"
    assert json.loads(ended["final"]) == {"Markdown": {"body": text}}, ended
    assert client.get(f"/outputs/raw/{fid}") == {"Markdown": {"body": text}}
    page = client.http.get(f"/outputs/html/{fid}").text
    assert f'<a href="/files/{fid}/out/report.md"' in page
    assert client.http.get(f"/files/{fid}/out/report.md").text == "# bees: hello world"
    assert [each["path"] for each in client.get(f"/files/{fid}/in")] == ["in/a.txt"]
    check_stream(client, fid)

    assert fid in [each["fid"] for each in client.get("/timeline/list", q="bees")["items"]]
    begin = client.get("/timeline/changes")["timestamp"]
    assert client.http.delete(f"/outputs/{fid}").status_code == 204
    assert client.get("/timeline/changes", since=begin)["delete"] == [fid]


def check_stream(client: KodosumiClient, fid: str) -> None:
    """Check that the streams have everything that the flow did, in Kodosumi's shapes."""
    events = [
        (kind, data.partition(":")[2]) for _, kind, data in client.events(f"/outputs/stream/{fid}")
    ]
    kinds = [kind for kind, _ in events]
    assert kinds[-2:] == ["status", "eof"]
    assert {"meta", "inputs", "stdout", "result", "upload", "lock", "lease", "final"} <= set(kinds)
    assert ("stdout", "working on bees") in events
    assert ("result", '{"Markdown":{"body":"# Notes\\n\\ntwo lines"}}') in events
    results = [json.loads(text) for kind, text in events if kind == "result"]
    assert {"dict": {"short": True, "names": ["a.txt"]}} in results
    statuses = [text for kind, text in events if kind == "status"]
    assert (statuses[0], statuses[-1]) == ("starting", "finished")
    main = {kind: data for _, kind, data in client.events(f"/outputs/main/{fid}")}
    assert "<strong>fine</strong>" in main["final"]


def test_a_flow_of_kocos_own(client: KodosumiClient) -> None:
    """Its values are typed and checked, and its form has Kodosumi's properties."""
    url = "/-/localhost/8001/twice/-/double"
    [field] = client.get(url)["elements"]
    assert (field["type"], field["placeholder"]) == ("number", None)
    assert "must be a number" in client.post(url, {"n": "x"})["errors"]["n"][0]
    fid = client.post(url, {"n": "21"})["result"]
    ended = wait_for(client, fid, "finished", "error")
    assert ended["final"] == '{"int":42}'


def test_a_running_execution_is_deleted(client: KodosumiClient) -> None:
    """It is cancelled first."""
    fid = client.post("/-/localhost/8001/report/-/", {"topic": "bees"})["result"]
    wait_for(client, fid, "awaiting")
    assert client.http.request("DELETE", "/outputs", json={"fid": [fid]}).status_code == 204
    assert client.http.get(f"/outputs/status/{fid}").status_code == 404


def test_the_cluster_is_shown(client: KodosumiClient) -> None:
    """In the shape of both APIs."""
    found = client.http.get("/health").json()
    assert found["ray_status"][0]["Alive"] is True
    assert found["status"] in ("ok", "degraded")
