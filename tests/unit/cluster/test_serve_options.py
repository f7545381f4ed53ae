"""A manifest's `serve`: what the installed Ray refuses of it, and what becomes of the rest."""

from pathlib import Path
from typing import Any

import pytest
from ray import serve

from koco.cluster.serve_options import problems_of
from koco.sdk.endpoint import serving
from koco.sdk.endpoint.serving import apply_options

RIGHT: dict[str, Any] = {
    "num_replicas": 2,
    "max_ongoing_requests": 10,
    "max_queued_requests": 50,
    "user_config": {"a": 1},
    "health_check_period_s": 1,
    "graceful_shutdown_timeout_s": 3,
    "ray_actor_options": {"num_cpus": 0.5, "resources": {"x": 1}, "label_selector": {"a": "!b"}},
    "logging_config": {"log_level": "DEBUG"},
}


@pytest.mark.parametrize(
    "options",
    [
        RIGHT,
        {"num_replicas": "auto", "autoscaling_config": {"max_replicas": 3}},
        # The author's own code, which must not be imported here.
        {"request_router_config": {"request_router_class": "their.router:Router"}},
        {"autoscaling_config": {"policy": {"policy_function": "their.policy:scale"}}},
    ],
)
def test_accepts_serves_options(options: dict[str, Any]) -> None:
    """They pass through with Ray's names."""
    assert problems_of(options) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_replica": 1}, "serve.num_replica: unknown key (hint: did you mean 'num_replicas'?)"),
        (
            {"autoscaling_config": {"min_replica": 1}},
            "serve.autoscaling_config.min_replica: unknown key (hint: did you mean 'min_replicas'",
        ),
        (
            {"ray_actor_options": {"num_cpu": 1}},
            "serve.ray_actor_options.num_cpu: unknown key (hint: did you mean 'num_cpus'?)",
        ),
        ({"num_replicas": 0}, "serve.num_replicas: must be greater than 0, got 0"),
        ({"num_replicas": "3"}, 'serve: `num_replicas` must be an int or "auto", but got: 3'),
        ({"max_ongoing_requests": "x"}, "serve.max_ongoing_requests: must be a valid integer"),
        (
            {"autoscaling_config": {"min_replicas": 5, "max_replicas": 3}},
            "serve.autoscaling_config: max_replicas (3) must be greater",
        ),
        ({"num_replicas": 2, "autoscaling_config": {"max_replicas": 3}}, "serve: Manually setting"),
        ({"max_replicas_per_node": 0}, "serve: Ray Serve refuses these options: Invalid max_rep"),
        (
            {"ray_actor_options": {"resources": {"GPU": 1}}},
            "serve: Ray Serve refuses these options: Use the 'num_cpus' and 'num_gpus' keyword",
        ),
        ({"name": "mine"}, "serve.name: cannot be set (hint: koco finds the app's deployment"),
        (
            {"ray_actor_options": {"runtime_env": {"pip": ["six"]}}},
            "serve.ray_actor_options.runtime_env: cannot be set: a replica has its release's",
        ),
        ({"max_surge_percent": 50}, "serve.max_surge_percent: has no effect: nothing is updated"),
    ],
)
def test_reports_a_refused_option_at_its_place(options: dict[str, Any], said: str) -> None:
    """One problem for each mistake, also for misspelt keys, which Ray ignores."""
    [problem] = problems_of(options)
    assert str(problem).startswith(said)


def test_reports_all_problems_at_once() -> None:
    """Keys and values."""
    found = problems_of({"num_replica": 1, "ray_actor_options": {"num_cpus": -1}, "name": "x"})
    assert [each.path for each in found] == [
        ("serve", "num_replica"),
        ("serve", "name"),
        ("serve", "ray_actor_options", "num_cpus"),
    ]


@serve.deployment(
    autoscaling_config={"min_replicas": 1, "max_replicas": 9},
    ray_actor_options={"num_cpus": 0, "resources": {"x": 1}},
    max_ongoing_requests=100,
)
class Mine:
    """A deployment whose author has said something."""


MINE: Any = Mine


def test_a_manifests_options_override_the_codes() -> None:
    """Key by key, also in `ray_actor_options`. A number turns autoscaling off."""
    made = apply_options(MINE, {"num_replicas": 3, "ray_actor_options": {"num_gpus": 1}})
    assert made.num_replicas == 3
    assert made._deployment_config.autoscaling_config is None
    assert made.ray_actor_options == {"num_cpus": 0, "num_gpus": 1, "resources": {"x": 1}}
    assert made.max_ongoing_requests == 100
    scaled = apply_options(
        MINE, {"num_replicas": "auto", "autoscaling_config": {"max_replicas": 4}}
    )
    assert scaled._deployment_config.autoscaling_config.max_replicas == 4
    assert MINE._deployment_config.autoscaling_config.max_replicas == 9


BOUND = """
from ray import serve

@serve.deployment
class Plain:
    pass

@serve.deployment(num_replicas=2, ray_actor_options={"resources": {"x": 1}})
class Special:
    pass

@serve.deployment(ray_actor_options={"num_cpus": 1})
class Named:
    pass

@serve.deployment
class Front:
    def __init__(self, *others):
        pass

app = Front.options(max_ongoing_requests=7).bind(
    Plain.bind(), [Special.options(num_replicas=1).bind()], Named.bind()
)
"""


def test_deployments_request_no_cpu_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that are bound together. Serve itself would request one CPU each."""
    from ray.serve._private.build_app import build_app

    (tmp_path / "bound_apps.py").write_text(BOUND)
    monkeypatch.syspath_prepend(tmp_path)
    built = serving.build({"app": "bound_apps:app", "timeout_s": 5})
    asked = {
        each.name: each.ray_actor_options["num_cpus"]
        for each in build_app(built, name="a").deployments
    }
    assert asked == {"Front": 0, "Plain": 0, "Special": 0, "Named": 1}
    named = {"app": "bound_apps:app", "timeout_s": 5, "serve": {"ray_actor_options": {}}}
    assert serving.build(named)._bound_deployment.ray_actor_options["num_cpus"] == 0
    named["serve"] = {"ray_actor_options": {"num_cpus": 2}}
    assert serving.build(named)._bound_deployment.ray_actor_options["num_cpus"] == 2

    @serve.deployment
    class After:
        pass

    assert After.ray_actor_options["num_cpus"] == 1, "only what is made for an endpoint"
