"""Dashboard and alert rules ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess

import pytest

from matcher.decode.protection import EVERY_PROTECTION
from matcher.model import Decision
from matcher.service import metrics
from matcher.service.metrics import IndexStatus, ServiceMetrics, SupervisorMetrics
from tests.monitoring import DASHBOARD, METRIC, RULES, RULES_FILE, asked

#: Labels that Prometheus itself gives.
GIVEN = {"job", "instance", "le"}
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


def status():
    return IndexStatus(
        ready=True,
        stale=False,
        revision=1,
        entries=1,
        segments={"base": 1},
        seconds_since_contact=math.inf,
        problem="",
        items_in_flight=0,
        protection=EVERY_PROTECTION,
        decoder_restarts={"ended": 0},
        throttled_clients=0,
        index_age_seconds=1.0,
        queues={"decoder": 0},
        hot_entries=0,
        list_ages={"one": 1.0},
        tell_list_names=True,
        counts=dict.fromkeys(metrics._COUNTS, 0),
        certificate_ends={"server": 2e9},
    )


def told():
    """Names of all samples, each with the labels that it has."""
    found = {}
    served = ServiceMetrics(status)
    for labelled in (served.requests, served.seconds, served.in_flight):
        labelled.labels(*["x"] * len(labelled._labelnames))
    served.item_errors.labels("x")
    served.refused.labels("x")
    supervisor = SupervisorMetrics(2)
    supervisor.restarts.labels("0")
    for registry in (served.registry, supervisor.registry):
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


TOLD = told()
REFUSALS = {
    sample.labels["reason"]
    for family in ServiceMetrics().registry.collect()
    for sample in family.samples
    if sample.name == "hashwarden_refused_calls_total"
}


@pytest.mark.parametrize(("where", "expression"), asked())
def test_each_metric_exists_with_its_labels(where, expression):
    names = [*METRIC.finditer(expression)]
    assert names, f"{where} asks for nothing"
    for found in names:
        name = found[0].partition("{")[0]
        assert name in TOLD, f"{where}: there is no {name}"
        assert set(LABEL.findall(found[1] or "")) <= TOLD[name] | GIVEN
    known = set().union(*(TOLD[found[0].partition("{")[0]] for found in names)) | GIVEN
    for by in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", by)) <= known


def test_the_docs_tell_of_every_metric_and_of_no_other():
    page = (RULES_FILE.parents[2] / "serving.md").read_text(encoding="utf-8")
    parts = re.compile(r"_(bucket|sum|count)$")
    ours = {parts.sub("", name) for name in TOLD if name.startswith("hashwarden_")}
    written = {name.rstrip("_") for name in re.findall(r"`(hashwarden_[a-z_]+)", page)}
    assert {name for name in ours if not name.endswith("_created")} == written


@pytest.mark.parametrize(("where", "expression"), asked())
def test_rates_are_of_what_only_grows(where, expression):
    for name in re.findall(r"(?:rate|increase)\((\w+)", expression):
        assert name.endswith(("_total", "_bucket", "_sum", "_count"))


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("decision", {each.value for each in Decision}),
        ("reason", {*metrics._EXPECTED_REJECTS, *REFUSALS}),
    ],
)
def test_values_that_are_asked_for_are_told(label, values):
    for _, expression in asked():
        for found in re.findall(rf'\b{label}=~?"([^"]+)"', expression):
            assert set(found.split("|")) <= values


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_panels_have_places_and_ids_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def promtool(*arguments):
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules():
    assert f"{len(RULES)} rules found" in promtool("check", "rules", RULES_FILE)


#: For each alert what is scraped each minute when it is to fire, as promtool writes series.
BAD = {
    "HashwardenNotReady": {"hashwarden_ready": "0x120"},
    "HashwardenGone": {},
    "HashwardenProcessesMissing": {
        "hashwarden_processes": "2x120",
        "hashwarden_processes_up": "1x120",
    },
    "HashwardenProcessRestarts": {'hashwarden_process_restarts_total{process="0"}': "0+1x120"},
    "HashwardenStale": {"hashwarden_stale": "1x120"},
    "HashwardenListsOld": {"hashwarden_newest_list_age_seconds": "700000+60x120"},
    "HashwardenListsWentBack": {
        'hashwarden_index_revision{job="hashwarden",instance="one"}': "9x60 stale _x60",
        'hashwarden_index_revision{job="hashwarden",instance="two"}': "8x60 7x60",
    },
    "HashwardenOverloaded": {
        'hashwarden_rejects_total{reason="overloaded"}': "0+6x120",
        'hashwarden_decisions_total{decision="NO_KNOWN_MATCH"}': "0+94x120",
        'hashwarden_requests_total{code="OK",method="MatchImages"}': "0+1x120",
    },
    "HashwardenSlow": {
        'hashwarden_request_seconds_bucket{method="MatchImage",le="5.0"}': "0+90x120",
        'hashwarden_request_seconds_bucket{method="MatchImage",le="10.0"}': "0+100x120",
        'hashwarden_request_seconds_bucket{method="MatchImage",le="+Inf"}': "0+100x120",
    },
    "HashwardenInternalErrors": {
        'hashwarden_item_errors_total{code="INTERNAL"}': "0+1x120",
        'hashwarden_requests_total{code="OK",method="MatchImages"}': "0+1x120",
    },
    "HashwardenDecodersDown": {'hashwarden_rejects_total{reason="decoders_away"}': "0+1x120"},
    "HashwardenDecodersReplaced": {'hashwarden_decoder_restarts_total{cause="ended"}': "0+20x120"},
    "HashwardenUnprotected": {'hashwarden_decoders_protected{by="syscalls"}': "0x120"},
    "HashwardenMatchesJump": {'hashwarden_decisions_total{decision="MATCH"}': "0x1380 0+9x60"},
    "HashwardenEntryHot": {"hashwarden_hot_entries_flagged_total": "0x60 1x60"},
    "HashwardenClimbing": {"hashwarden_climbing_series_total": "0x60 1x60"},
    "HashwardenMatchRecordsWaiting": {
        "hashwarden_match_records_waiting": "0x30 7x90",
        "hashwarden_match_records_kept_total": "0+1x30 30x90",
    },
    "HashwardenMatchRecordsLost": {"hashwarden_match_records_lost_total": "0+1x120"},
    "HashwardenAuditEventsLost": {"hashwarden_audit_events_lost_total": "0+1x120"},
    "HashwardenCredentialsGuessed": {
        'hashwarden_refused_calls_total{reason="too_many_attempts"}': "0+1x120"
    },
    "HashwardenProcessUnreachable": {
        'up{job="hashwarden",instance="one"}': "1x120",
        'up{job="hashwarden",instance="two"}': "1x30 0x90",
        'hashwarden_build_info{job="hashwarden",instance="one",version="1"}': "1x120",
    },
    "HashwardenFewerProcesses": {
        'hashwarden_ready{job="hashwarden",instance="one"}': "1x120",
        'hashwarden_ready{job="hashwarden",instance="two"}': "1x60 stale _x60",
    },
    "HashwardenClientExpired": {
        'hashwarden_refused_calls_total{reason="client_expired"}': "0x60 0+1x60"
    },
    "HashwardenCertificateEndsSoon": {
        'hashwarden_certificate_not_after_timestamp_seconds{of="server"}': "864000x120"
    },
    "HashwardenCertificateEnds": {
        'hashwarden_certificate_not_after_timestamp_seconds{of="server"}': "3600x120"
    },
    "HashwardenPullFailures": {
        "hashwarden_snapshot_pull_failures_total": "0x20 0+1x100",
        "hashwarden_snapshot_pulls_total": "0+2x20 40x100",
    },
    "HashwardenSnapshotFailures": {"hashwarden_snapshot_build_failures_total": "0+1x120"},
}
#: Of a server with work to do and small troubles, minute by minute over a day.
GOOD = {
    "hashwarden_ready": "1x1440",
    "hashwarden_processes": "2x1440",
    "hashwarden_processes_up": "2x1440",
    'hashwarden_process_restarts_total{process="0"}': "0x700 1x739",
    "hashwarden_stale": "0x1440",
    "hashwarden_newest_list_age_seconds": "0+60x1440",
    # One starts anew, from an older snapshot at first, and one is always a little late.
    'hashwarden_index_revision{job="hashwarden",instance="one"}': "7x700 -1x20 6x4 8x713",
    'hashwarden_index_revision{job="hashwarden",instance="two"}': "7x704 -1x1 7x40 8x692",
    'hashwarden_rejects_total{reason="overloaded"}': "0+1x1440",
    'hashwarden_rejects_total{reason="decoders_away"}': "0x1440",
    'hashwarden_requests_total{code="OK",method="MatchImage"}': "0+1000x1440",
    'hashwarden_requests_total{code="INVALID_ARGUMENT",method="MatchImage"}': "0+9x1440",
    'hashwarden_request_seconds_bucket{method="MatchImage",le="0.1"}': "0+999x1440",
    'hashwarden_request_seconds_bucket{method="MatchImage",le="5.0"}': "0+1000x1440",
    'hashwarden_request_seconds_bucket{method="MatchImage",le="+Inf"}': "0+1000x1440",
    'hashwarden_decoder_restarts_total{cause="ended"}': "0+1x1440",
    'hashwarden_decoders_protected{by="syscalls"}': "1x1440",
    'hashwarden_decisions_total{decision="MATCH"}': "0+5x1440",
    "hashwarden_hot_entries_flagged_total": "3x1440",
    "hashwarden_climbing_series_total": "0x1440",
    "hashwarden_match_records_lost_total": "0x1440",
    "hashwarden_match_records_waiting": "0x700 3x739",
    "hashwarden_match_records_kept_total": "0+5x1440",
    'hashwarden_decisions_total{decision="NO_KNOWN_MATCH"}': "0+1000x1440",
    'hashwarden_item_errors_total{code="INTERNAL"}': "0x1440",
    "hashwarden_audit_events_lost_total": "0x1440",
    'hashwarden_refused_calls_total{reason="too_many_attempts"}': "0x1440",
    'hashwarden_refused_calls_total{reason="client_expired"}': "0x1440",
    'hashwarden_refused_calls_total{reason="no_credentials"}': "0+2x1440",
    'hashwarden_certificate_not_after_timestamp_seconds{of="server"}': "9000000x1440",
    'up{job="hashwarden",instance="one"}': "1x1440",
    'up{job="another",instance="three"}': "0x1440",
    'hashwarden_build_info{job="hashwarden",instance="one",version="1"}': "1x1440",
    "hashwarden_snapshot_build_failures_total": "0x1440",
    "hashwarden_snapshot_pulls_total": "0+2x1440",
    "hashwarden_snapshot_pull_failures_total": "0+1x1440",  # many a look fails, none for long
}


def scraped(series, expression, value, *, minutes):
    """A test for promtool: what an expression is after so many minutes of these series."""
    wanted = {"expr": expression, "eval_time": f"{minutes}m"}
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{**wanted, "exp_samples": [{"labels": "{}", "value": value}]}],
    }


def test_each_alert_fires_when_it_should_and_only_then(tmp_path):
    assert sorted(BAD) == sorted(rule["alert"] for rule in RULES)
    any_fires = 'count(ALERTS{alertstate="firing"}) or vector(0)'
    tests = [scraped(GOOD, any_fires, 0, minutes=1_435)]
    for name, series in BAD.items():
        late = 1_435 if name == "HashwardenMatchesJump" else 115
        fires = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
        tests.append(scraped(series, fires, 1, minutes=late))
    file = tmp_path / "tests.yaml"
    rules = {"rule_files": [str(RULES_FILE)], "evaluation_interval": "5m", "tests": tests}
    file.write_text(json.dumps(rules), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", file)
