"""The dashboard and the alert rules in docs/observability: they name metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.support.api_server import serving
from tests.support.checkout import ROOT

FOLDER = ROOT / "docs" / "observability"
#: What Prometheus itself and Grafana add.
_PROMETHEUS = {"up"}
_GRAFANA = {"$__rate_interval": "5m"}


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return panels


def _expressions() -> list[str]:
    found = [rule["expr"] for rule in _alerts()]
    found += [target["expr"] for panel in _panels() for target in panel["targets"]]
    for name, value in _GRAFANA.items():
        found = [each.replace(name, value) for each in found]
    return found


def _metrics(expression: str) -> Iterator[str]:
    """Yield the metrics that an expression reads; raises if it cannot be parsed."""
    text = promql_parser.parse(expression).prettify()
    yield from re.findall(r"\b(?:koco|process)_\w+|\bup\b", text)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all metrics of a control plane."""
    with serving(tmp_path_factory.mktemp("data")) as api, api.http() as client:
        client.get("/v1/flows")
        text = client.get("/v1/metrics").text
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    return {name + each for name, kind in families for each in suffixes.get(kind, ("",))}


def test_each_expression_reads_metrics_that_there_are(known: set[str]) -> None:
    """And Prometheus can parse it."""
    for expression in _expressions():
        names = set(_metrics(expression))
        assert names, expression
        assert names <= known | _PROMETHEUS, expression


def test_the_panels_do_not_overlap() -> None:
    """Each has an id and a place of its own."""
    panels = _panels()
    assert len({each["id"] for each in panels}) == len(panels)
    cells = [
        (x, y)
        for each in panels
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_alerts_are_complete_and_described() -> None:
    """Each has a severity, a summary and a description, and is in docs/observability.md."""
    page = Path(FOLDER.with_suffix(".md")).read_text()
    for rule in _alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule
        assert {"summary", "description"} <= rule["annotations"].keys(), rule
        assert f"`{rule['alert']}`" in page, rule
