"""Options of deployments, and the other keys of an application."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.project.conversion.projects import APP, CODE, convert, manifest, notes


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("num_replicas: 2", {"num_replicas": 2}),
        ("ray_actor_options: {num_cpus: 0.1}", {"ray_actor_options": {"num_cpus": 0.1}}),
        ("max_concurrent_queries: 7", {"max_ongoing_requests": 7}),
        ("num_replicas: null", {}),
        ("ray_actor_options: {runtime_env: {pip: [six]}}", {}),
        ("user_config: {a: 1, token: abcdefgh12}", {"user_config": {"a": 1}}),
        (
            "autoscaling_config: {min_replicas: 0, max_replicas: 4}",
            {"autoscaling_config": {"min_replicas": 0, "max_replicas": 4}},
        ),
    ],
)
def test_options_of_the_ingress_are_kept(
    tmp_path: Path, options: str, kept: dict[str, Any]
) -> None:
    """By today's names, and without what koco sets itself."""
    made = convert(tmp_path, f"{APP}deployments:\n- {{name: News, {options}}}\n")
    assert manifest(made).serve == kept


def test_the_ingress_is_found_in_the_code(tmp_path: Path) -> None:
    """It is the deployment that the application is bound from. Others are noted."""
    text = f"{APP}deployments:\n- {{name: A, num_replicas: 2}}\n- {{name: News, num_replicas: 3}}"
    made = convert(tmp_path, text)
    assert manifest(made).serve == {"num_replicas": 3}
    assert "num_replicas" in notes(made)["deployments.A"]


def test_a_single_deployment_is_taken_for_the_ingress(tmp_path: Path) -> None:
    """If the code does not say it."""
    made = convert(tmp_path, "import_path: far.away:x\ndeployments: [{name: A, num_replicas: 2}]")
    assert manifest(made).serve == {"num_replicas": 2}


def test_a_name_that_the_decorator_gives_is_known(tmp_path: Path) -> None:
    """`@serve.deployment(name=…)`, and options on the way to `bind`."""
    code = CODE.replace("@serve.deployment\n", '@serve.deployment(name="Other")\n')
    code = code.replace("News.bind()", "News.options(num_replicas=1).bind()")
    text = (
        f"{APP}deployments:\n- {{name: News, num_replicas: 2}}\n- {{name: Other, num_replicas: 3}}"
    )
    made = convert(tmp_path, text, {"news/query.py": code})
    assert manifest(made).serve == {"num_replicas": 3}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("route_prefix: /elsewhere", "route_prefix"),
        ("args: {a: 1}", "args"),
        ("host: 0.0.0.0", "host"),
        ("external_scaler_enabled: true", "external_scaler_enabled"),
        (
            "deployments: [{name: News, rolling_update_percentage: 5}]",
            "deployments.News.rolling_update_percentage",
        ),
        ("deployments: [{name: News, odd: 5}]", "deployments.News.odd"),
    ],
)
def test_what_koco_does_not_have_is_noted(tmp_path: Path, text: str, key: str) -> None:
    """In a comment of the manifest, too."""
    made = convert(tmp_path, f"{APP}{text}\n")
    assert key in notes(made)
    assert f"# {key}: " in made.files[Path("koco.yaml")]


@pytest.mark.parametrize("prefix", ["/", "/news", "news", "/news/", "/News"])
def test_a_prefix_that_is_the_services_name_needs_no_note(tmp_path: Path, prefix: str) -> None:
    """The paths stay similar."""
    assert notes(convert(tmp_path, f"{APP}route_prefix: {prefix}\n")) == {}
