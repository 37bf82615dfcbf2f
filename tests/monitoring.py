"""What the dashboard and the alert rules in the docs ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[1] / "docs" / "deploy" / "monitoring"
RULES_FILE = FOLDER / "alerts.yaml"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
#: A metric of ours, and what chooses among its samples.
METRIC = re.compile(r"\b(?:hashwarden|process)_[a-z_]+\b(\{[^}]*\})?")
_FAMILY = re.compile(r"(?m)^# TYPE (\S+) (\S+)$")
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def asked():
    """Pairs of where something is asked, and what."""
    panels = [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    ]
    return [*panels, *((rule["alert"], rule["expr"]) for rule in RULES)]


#: Only those tell them that pull snapshots.
OF_REPLICAS = {
    "hashwarden_snapshot_pulls_total",
    "hashwarden_snapshot_pull_failures_total",
}


def asked_metrics():
    """The names of all metrics that are asked for."""
    return {
        found[0].partition("{")[0]
        for _, expression in asked()
        for found in METRIC.finditer(expression)
    }


def told_metrics(page):
    """The names that samples on a page of metrics have, or will once there are any."""
    return {name + part for name, kind in _FAMILY.findall(page) for part in _PARTS.get(kind, ("",))}
