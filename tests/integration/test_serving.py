"""Serve applications on a real Ray: options, drift, what did not come up and why."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.test_endpoints import ask, dashboard, serve_details
from tests.support.driver import Done, Koco, eventually

#: Two deployments that the author bound, the one at the entry first.
DUO = """
from ray import serve

from koco import Launch, ServeAPI

app = ServeAPI()


@app.enter("/")
def enter(request, inputs):
    return Launch(request, run, inputs=inputs)


@app.get("/hello")
def hello():
    return {{"version": {version}}}


def run(inputs):
    return {version}


@serve.deployment(num_replicas=1, ray_actor_options={{"num_cpus": 0}})
class Back:
    pass


@serve.deployment(ray_actor_options={{"num_cpus": 0}}, autoscaling_config={{"max_replicas": 3}})
@serve.ingress(app)
class Front:
    def __init__(self, back):
        self.back = back


bound = Front.bind(Back.bind())
"""


Options = dict[str, Any]

#: Replicas that leave at once.
QUICK = {"graceful_shutdown_timeout_s": 0.1, "graceful_shutdown_wait_loop_s": 0.1}
ILL = "    def check_health(self):\n        raise OSError('not well')\n"


def project(koco: Koco, service: str, code: str = "", **options: Any) -> Callable[..., Done]:
    """Write a project whose app is `bound`; return what deploys it."""
    app = f"{service.replace('-', '_')}_app:bound"
    code = code or DUO.format(version=1)
    root = koco.project(service, code, app=app, flows=[], serve={**QUICK, **options})
    return lambda *more: koco.run("deploy", *more, cwd=root)


def deployments(koco: Koco, application: str) -> dict[str, Any]:
    found: dict[str, Any] = serve_details(koco)["applications"][application]["deployments"]
    return {name: each["deployment_config"] for name, each in found.items()}


def service(koco: Koco, name: str) -> dict[str, Any]:
    [found] = [each for each in koco.get("/v1/status")["services"] if each["name"] == name]
    return dict(found)


def put(koco: Koco, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Write Serve's configuration as somebody else would; `change` may drop an application."""
    details = serve_details(koco)
    kept = [each["deployed_app_config"] for each in details["applications"].values()]
    changed = [change(each) for each in kept if each]
    options = {key: details[key] for key in ("proxy_location", "http_options", "grpc_options")}
    body = {**options, "applications": [each for each in changed if each]}
    with dashboard(koco) as client:
        assert client.put("/api/serve/applications/", json=body).status_code == 200


def test_options_reach_the_deployment_at_the_entry(koco: Koco) -> None:
    """Over what its author has said, and only there; other options are another release."""
    options: Options = {"num_replicas": 2, "max_ongoing_requests": 7}
    project(koco, "duo", **options)().ok()
    found = deployments(koco, "koco-duo-1")
    assert (found["Front"]["num_replicas"], found["Front"]["max_ongoing_requests"]) == (2, 7)
    assert found["Front"].get("autoscaling_config") is None
    assert found["Front"]["ray_actor_options"]["num_cpus"] == 0
    assert (found["Back"]["num_replicas"], found["Back"]["max_ongoing_requests"]) == (1, 5)
    assert koco.execute("duo").result == 1

    scaled: Options = {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2}}
    project(koco, "duo", **scaled)().ok()
    found = deployments(koco, "koco-duo-2")
    assert found["Front"]["autoscaling_config"]["max_replicas"] == 2
    assert koco.execute("duo").result == 1


def test_options_that_serve_does_not_know_are_refused_at_their_line(koco: Koco) -> None:
    """All at once, before anything is made."""
    wrong: Options = {"num_replica": 2, "ray_actor_options": {"num_cpus": -1, "runtime_env": {}}}
    done = project(koco, "misspelt", **wrong)()
    assert done.code == 2, done
    for said in (
        "koco.yaml:1:",
        "serve.num_replica: unknown key (hint: did you mean 'num_replicas'?)",
        "serve.ray_actor_options.num_cpus: must be greater than or equal to 0, got -1",
        "serve.ray_actor_options.runtime_env: cannot be set",
    ):
        assert said in done.err
    assert ask(koco, "GET", "/v1/services/misspelt/releases/1").status_code == 404


def test_what_somebody_else_changed_is_told_and_put_back(koco: Koco) -> None:
    """`koco status` and `koco plan` say so; a deploy that changes nothing else puts it back."""
    deploy = project(koco, "drifted")
    deploy().ok()
    name = "koco-drifted-1"
    assert service(koco, "drifted")["drift"] is None

    def scale(config: dict[str, Any]) -> dict[str, Any]:
        if config["name"] == name:
            config["deployments"] = [{"name": "Back", "num_replicas": 2}]
        return config

    put(koco, scale)
    eventually(lambda: deployments(koco, name)["Back"]["num_replicas"] == 2)
    said = service(koco, "drifted")["drift"]
    assert said == "somebody else has changed its Serve application: options of its deployments"
    assert said in " ".join(koco.run("status").ok().out.split())
    planned = koco.run("plan", "--json", cwd=koco.root / "project-drifted").ok().out
    assert "drift" in json.dumps(json.loads(planned))
    deploy().ok()
    assert service(koco, "drifted")["drift"] is None
    eventually(lambda: deployments(koco, name)["Back"]["num_replicas"] == 1)
    assert koco.get("/v1/services/drifted/releases/1")["status"] == "live"
    assert koco.execute("drifted").result == 1


@pytest.mark.timeout(600)
def test_what_somebody_else_removed_comes_back_by_itself(koco: Koco) -> None:
    """One application, and all of Serve (`serve shutdown`); launches work again within seconds."""

    def is_back() -> bool:
        return ask(koco, "POST", "/v1/flows/removed", json={}).status_code == 201

    project(koco, "removed")().ok()
    put(koco, lambda config: config if config["name"] != "koco-removed-1" else None)
    drift = service(koco, "removed")["drift"]
    assert drift == "somebody else has removed its Serve application" or is_back()
    eventually(is_back, within_s=150)
    with dashboard(koco) as client:
        assert client.delete("/api/serve/applications/").status_code == 200
    eventually(is_back, within_s=150)
    eventually(lambda: service(koco, "removed")["drift"] is None, within_s=150)


def test_what_replicas_wait_for_is_said(koco: Koco) -> None:
    """While they find no room; the former release serves."""
    project(koco, "roomless")().ok()
    options: Options = {"ray_actor_options": {"num_cpus": 99}}
    done = project(koco, "roomless", DUO.format(version=2), **options)("--timeout", "1")
    assert done.code == 124, done

    def waits_for() -> str:
        release = koco.get("/v1/services/roomless/releases/2")
        if release["status"] != "starting":
            raise RuntimeError(f"it waits no more: {release}")
        return str(release["waits_for"])

    eventually(lambda: "0 of 1 replicas of Front run; each asks for 99 CPU" in waits_for())
    done = project(koco, "roomless", DUO.format(version=2), **options)()
    assert done.code == 5, "nothing under way makes room for it"
    assert "no node has 99 CPU (the most is " in done.err
    assert koco.execute("roomless").result == 1
    koco.run("undeploy", "roomless", "--yes").ok()


def test_a_health_check_that_fails_is_shown(koco: Koco) -> None:
    """Exit code 5 with what it raised; the former release serves."""
    project(koco, "sick")().ok()
    code = DUO.format(version=2).replace("= back\n", f"= back\n{ILL}")
    done = project(koco, "sick", code, health_check_period_s=0.2)("--timeout", "100")
    assert done.code == 5, done
    assert "OSError: not well" in done.err
    assert koco.execute("sick").result == 1
