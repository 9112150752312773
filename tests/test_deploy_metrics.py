"""`deploy/grafana` and `deploy/prometheus`: what they name exists, and promtool can read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.control.metric import Kind
from mirror.control.metric_table import METRICS

ROOT = Path(__file__).parent.parent
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.yml"))
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
RECORDING = ROOT / "deploy" / "prometheus" / "recording.yml"
SCENARIOS = sorted(Path(__file__).parent.glob("alerts_*.yml"))
NAME = re.compile(r"\brust_mirror[_:][a-z0-9_:]+")
FILTER_OR_BY = re.compile(
    r"(?:by|on|group_left|group_right) ?\(([^)]*)\)|[{,]([a-z]+)(?:=~?|!~|!=)\""
)
AMBIENT = {"job", "instance", "le"}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: package prometheus)"
)


def known_names() -> set[str]:
    names = {metric.name for metric in METRICS}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            names |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return names | set(re.findall(r"record: (\S+)", RECORDING.read_text()))


def panels(path: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(path.read_text())["panels"]


def expressions(path: Path) -> Iterator[str]:
    for panel in panels(path):
        for target in panel.get("targets", ()):
            yield target["expr"]


def prepared(expression: str) -> str:
    """What Grafana would ask with everything chosen."""
    for variable, text in (
        ("$__rate_interval", "5m"),
        ("$__range", "1h"),
        ("$job", ".*"),
        ("$instance", ".*"),
    ):
        expression = expression.replace(variable, text)
    return expression


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROMTOOL), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_there_is_something_to_check() -> None:
    named = {path.stem for path in DASHBOARDS}
    assert named == {"overview", "traffic", "upstream", "store", "trust"}
    assert [path.name for path in RULES] == ["alerts.yml", "recording.yml"]


@pytest.mark.parametrize("path", [*DASHBOARDS, *RULES], ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(path: Path) -> None:
    used = set(NAME.findall(path.read_text()))
    assert used
    assert used - known_names() == set()


@pytest.mark.parametrize("path", [*DASHBOARDS, *RULES], ids=lambda path: path.name)
def test_every_label_that_is_named_exists(path: Path) -> None:
    text = path.read_text().replace('\\"', '"')
    used = {
        label.strip()
        for listed, matched in FILTER_OR_BY.findall(text)
        for label in (listed or matched).split(",")
        if label.strip()
    }
    known = {label for metric in METRICS for label in metric.labels} | AMBIENT
    assert used
    assert used - known == set()


def test_every_metric_is_on_a_dashboard() -> None:
    """What nobody sees was not worth a series."""
    shown = set(NAME.findall("".join(path.read_text() for path in DASHBOARDS)))
    metrics = {
        metric.name + ("_bucket" if metric.kind is Kind.HISTOGRAM else "") for metric in METRICS
    }
    assert metrics - shown == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_one_that_can_be_provisioned(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"rust-mirror-{path.stem}"
    variables = [each["name"] for each in board["templating"]["list"]]
    assert variables == ["datasource", "job", "instance"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job=~"$job",instance=~"$instance"' in target["expr"]


def alerts() -> dict[str, str]:
    """Return the text of each alert by its name."""
    parts = re.split(r"^ +- alert: ", ALERTS.read_text(), flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0]: part for part in parts}


def test_every_alert_has_its_page() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.M)
    assert list(alerts()) == [name for name in headings if name.startswith("RustMirror")]


@pytest.mark.parametrize("name", list(alerts()))
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(name: str) -> None:
    text = alerts()[name]
    assert f"runbook: docs/operations.md#{name.lower()}\n" in text
    assert re.search(r"severity: (critical|warning|info)\n", text)
    assert re.search(r"summary: '[^'\n]*\{\{ \$labels\.[^'\n]*'\n", text)


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", *map(str, RULES), cwd=ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_promtool_can_read_every_panel(path: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": prepared(expression)}
        for number, expression in enumerate(expressions(path))
    ]
    # YAML takes JSON.
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "p", "rules": rules}]}))
    checked = promtool("check", "rules", "panels.yml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
@pytest.mark.parametrize(
    "scenarios",
    [
        pytest.param(
            path, id=path.name, marks=[pytest.mark.full] if path.stem == "alerts_of_a_day" else []
        )
        for path in SCENARIOS
    ],
)
def test_alerts_fire_when_they_should_and_only_then(scenarios: Path, tmp_path: Path) -> None:
    for path in (*RULES, scenarios):
        shutil.copy(path, tmp_path)
    checked = promtool("test", "rules", scenarios.name, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_page_about_metrics_is_the_table() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    told = [line for line in text.splitlines() if line.startswith("| `")]
    assert told == [
        f"| `{metric.name}` | {metric.kind.value} |"
        f" {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in METRICS
    ]
