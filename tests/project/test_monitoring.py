"""The alerts and the dashboard ask for what the gateway measures."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from server.api.status import KINDS
from server.metrics import PREFIX, Metrics
from tests.support.paths import ROOT

MONITORING = ROOT / "docs" / "monitoring"
ADDED = {"instance", "job", "le"}
"""Labels that Prometheus itself adds."""
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def alerts() -> list[str]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def panels() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


QUERIES = [*alerts(), *panels()]


def series() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the name of each series that the gateway has, and its labels."""
    metrics = Metrics("", "")
    for family in metrics.registry.collect():
        for suffix in SUFFIXES[family.type]:
            yield f"{family.name}{suffix}", metrics.labels.get(family.name, ())


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_what_is_measured(query: str) -> None:
    labels = dict(series())
    names = re.findall(rf"\b(?:{PREFIX}|process)_\w+", query)
    assert names
    assert set(names) <= labels.keys()
    selected = set(re.findall(r"(\w+)=~?\"", query))
    groups = re.findall(r"by \(([^)]*)\)", query)
    grouped = {label for group in groups for label in group.split(", ")}
    known = {label for name in names for label in labels[name]}
    assert selected | grouped <= known | ADDED


def test_queries_select_reasons_that_there_are() -> None:
    reasons = {"INTERNAL", *(kind.reason for kind in KINDS.values())}
    for query in QUERIES:
        for selected in re.findall(r"reason=~?\"([^\"]*)\"", query):
            assert set(selected.split("|")) <= reasons


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(panels())
    assert [name for name in Metrics("", "").labels if name not in shown] == []
