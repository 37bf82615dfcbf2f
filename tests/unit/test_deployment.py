"""Compose file and Kubernetes manifests: valid, hardened, whole, of settings that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import Draft202012Validator

from matcher import cli, errors
from matcher._proto.hashwarden.match.v1 import match_pb2
from matcher.client.channels import _RETRIES
from matcher.service.errors import STATUS_OF
from matcher.service.listening import check_listen
from matcher.settings import exchange_credentials, load_settings
from tests.deployment import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    compose,
    env_file,
    kustomization,
    manifests,
    mounts,
    of_kind,
    pods_of_the_cluster,
    scan_manifests,
)

DATABASES = {
    "HASHWARDEN_ACCESS_URL": "postgresql+psycopg://hashwarden@db.test/access",
    "HASHWARDEN_MATCH_RECORDS_URL": "postgresql+psycopg://hashwarden@db.test/matches",
    "HASHWARDEN_CATALOG_URL": "postgresql+psycopg://hashwarden@db.test/catalog",
}
#: The oldest and the newest version of Kubernetes that the manifests are checked against.
VERSIONS = ("1.27", "1.34")
SETS = of_kind("StatefulSet")
JOBS = of_kind("CronJob")
TEMPLATES = {name: each["spec"]["template"] for name, each in SETS.items()} | {
    name: each["spec"]["jobTemplate"]["spec"]["template"] for name, each in JOBS.items()
}


def pod(name):
    return TEMPLATES[name]["spec"]


def container(name):
    (only,) = pod(name)["containers"]
    return only


def environment(name):
    """What a pod's container finds in its environment, but for credentials."""
    maps = {each["name"]: each["envs"][0] for each in kustomization()["configMapGenerator"]}
    found = {}
    for source in container(name)["envFrom"]:
        if "configMapRef" in source:
            found |= env_file(maps[source["configMapRef"]["name"]])
    return found | {each["name"]: DATABASES[each["name"]] for each in container(name)["env"]}


def faults(schema, document):
    return [f"{list(error.path)}: {error.message}" for error in schema.iter_errors(document)]


class TestCompose:
    def test_is_what_the_specification_allows(self):
        schema = Draft202012Validator(get_builtin_schema("vendor.compose-spec"))
        assert faults(schema, compose()) == []
        assert faults(schema, {"services": {"a": {"imagee": "b"}}}) != []

    @pytest.mark.parametrize("name", ["builder", "replica"])
    def test_services_can_do_little(self, name):
        service = compose()["services"][name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["init"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] > 0
        assert "mem_limit" in service
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)

    @pytest.mark.parametrize("name", ["builder", "replica"])
    def test_settings_are_known_and_protected(self, name, tmp_path):
        service = compose()["services"][name]
        given = {key: str(value) for key, value in service["environment"].items()}
        loaded = load_settings(tmp_path, environ=given)
        check_listen(loaded)
        assert loaded.keeps_lists is (name == "builder")
        assert loaded.encryption_keys.startswith("file:")
        assert int(service["stop_grace_period"].removesuffix("s")) >= loaded.drain_seconds + 15

    def test_every_path_in_settings_is_mounted(self):
        for service in compose()["services"].values():
            places = {*mounts(service), *(f"/run/secrets/{name}" for name in service["secrets"])}
            for value in service["environment"].values():
                for path in re.findall(r"(?:file://|sqlite:///|^|file:)(/[a-z].*)$", str(value)):
                    assert any(path == p or path.startswith(f"{p}/") for p in places), path

    def test_only_the_builder_writes_to_the_store_and_has_its_key(self):
        services = compose()["services"]
        assert "store:/store" in services["builder"]["volumes"]
        assert "store:/store:ro" in services["replica"]["volumes"]
        assert services["builder"]["secrets"] == ["snapshots.pem"]
        assert services["replica"]["secrets"] == ["snapshots.pub.pem"]
        assert "catalog:/data" not in services["replica"]["volumes"]

    def test_keys_that_open_lists_can_only_be_read(self):
        """Who takes over what meets uploads must not choose the key of the next backup."""
        for service in compose()["services"].values():
            place = service["environment"]["HASHWARDEN_ENCRYPTION_KEYS"].removeprefix("file:")
            folder = place.rpartition("/")[0]
            assert any(each.endswith(f":{folder}:ro") for each in service["volumes"])

    def test_volumes_are_of_the_images_user(self):
        made = re.search(r"--mode 0700 (/.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
        named = compose()["volumes"]
        inside = {
            path
            for service in compose()["services"].values()
            for path, outside in mounts(service).items()
            if outside in named
        }
        assert inside == set(made.split())


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_what_kubernetes_knows(version):
    for each in manifests():
        kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_manifest_would_be_told():
    wrong = dict(of_kind("Service")["hashwarden"])
    wrong["spec"] = wrong["spec"] | {"portts": []}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


class TestScans:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_manifests_are_what_kubernetes_knows(self, version):
        for each in [*scan_manifests("kubernetes-job.yaml"), *scan_manifests("ray-cluster.yaml")]:
            if each["kind"] != "RayCluster":
                kubernetes_validate.validate(each, version, strict=True)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_pods_of_the_cluster_are_too(self, version):
        for pod in pods_of_the_cluster():
            template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
            kubernetes_validate.validate(template | {"template": pod}, version, strict=True)

    def test_pods_can_do_little(self):
        (job,) = (x for x in scan_manifests("kubernetes-job.yaml") if x["kind"] == "Job")
        for pod in [job["spec"]["template"], *pods_of_the_cluster()]:
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            for container in pod["spec"]["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }

    def test_every_shard_has_a_pod(self):
        (job,) = (x for x in scan_manifests("kubernetes-job.yaml") if x["kind"] == "Job")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        shards = {each["name"]: each["value"] for each in container["env"]}["SHARDS"]
        assert job["spec"]["completionMode"] == "Indexed"
        assert job["spec"]["completions"] == int(shards)

    def test_the_job_says_options_that_there_are(self):
        (job,) = (x for x in scan_manifests("kubernetes-job.yaml") if x["kind"] == "Job")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z]+", container["command"][-1]):
            assert f"  {option} " in page, option

    def test_ray_reports_to_nobody_and_is_of_one_version(self):
        clusters = scan_manifests("ray-cluster.yaml")
        (cluster,) = (each for each in clusters if each["kind"] == "RayCluster")
        page = (DEPLOY / "scan" / "README.md").read_text(encoding="utf-8")
        assert f"'ray=={cluster['spec']['rayVersion']}'" in page
        for pod in pods_of_the_cluster():
            for container in pod["spec"]["containers"]:
                assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_what_kustomize_makes_of_them_is_valid_too():
    made = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, check=True, text=True
    )
    rendered = list(yaml.safe_load_all(made.stdout))
    assert len(rendered) == len(manifests()) + len(kustomization()["configMapGenerator"])
    for each in rendered:
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "hashwarden"


@pytest.mark.parametrize("name", TEMPLATES)
class TestPods:
    def test_can_do_little(self, name):
        spec, only = pod(name), container(name)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all("hostPath" not in volume for volume in spec["volumes"])
        assert {"cpu", "memory"} <= set(only["resources"]["limits"])

    def test_files_stay_closed_to_others(self, name):
        """The rights that keys must have, and that a start must not widen in the data folder."""
        spec = pod(name)
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        modes = {v["secret"]["defaultMode"] for v in spec["volumes"] if "secret" in v}
        assert modes == {0o440}

    def test_every_path_in_settings_is_mounted(self, name):
        places = [each["mountPath"] for each in container(name)["volumeMounts"]]
        volumes = {each["name"] for each in pod(name)["volumes"]} | {"data"}
        assert {each["name"] for each in container(name)["volumeMounts"]} == volumes
        for key, value in environment(name).items():
            if path := re.fullmatch(r"(?:file:)?(/.*)", value):
                assert any(path[1].startswith(f"{place}/") for place in places), key

    def test_the_page_tells_how_to_make_what_is_not_here(self, name):
        page = (DEPLOY / "README.md").read_text(encoding="utf-8")
        named = {
            *re.findall(r'"(?:secretName|name)": "(hashwarden-[a-z-]+)"', json.dumps(pod(name)))
        }
        made = {each["name"] for each in kustomization()["configMapGenerator"]}
        for missing in named - made:
            assert missing in page

    def test_has_an_account_and_ways_of_its_own(self, name):
        labels = TEMPLATES[name]["metadata"]["labels"]
        assert pod(name)["serviceAccountName"] == name
        assert name in of_kind("ServiceAccount")
        assert any(
            policy["spec"]["podSelector"].get("matchLabels") == labels
            for policy in of_kind("NetworkPolicy").values()
        )

    def test_passwords_and_credentials_come_by_reference_alone(self, name):
        for each in container(name)["env"]:
            assert set(each) == {"name", "valueFrom"}
            assert set(each["valueFrom"]) == {"secretKeyRef"}


@pytest.mark.parametrize("name", SETS)
class TestServers:
    def test_settings_are_known_and_protected(self, name, tmp_path):
        loaded = load_settings(tmp_path, environ=environment(name))
        check_listen(loaded)
        assert loaded.keeps_lists is (name == "hashwarden-builder")
        assert loaded.encryption_keys.startswith("file:")
        waits = int(container(name)["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pod(name)["terminationGracePeriodSeconds"] >= waits + loaded.drain_seconds + 15

    def test_ports_are_where_it_listens(self, name, tmp_path):
        loaded = load_settings(tmp_path, environ=environment(name))
        ports = {each["name"]: each["containerPort"] for each in container(name)["ports"]}
        listens = {int(each.rpartition(":")[2]) for each in loaded.addresses}
        assert set(ports.values()) == listens
        for service in of_kind("Service").values():
            labels = SETS[name]["spec"]["template"]["metadata"]["labels"]
            if service["spec"]["selector"].items() <= labels.items():
                assert {each["targetPort"] for each in service["spec"]["ports"]} <= set(ports)

    def test_whoever_speaks_of_it_names_it_right(self, name):
        spec, labels = SETS[name]["spec"], TEMPLATES[name]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert spec["serviceName"] in of_kind("Service")


class TestExchanges:
    NAME = "hashwarden-exchanges"

    def test_fetches_by_a_command_that_there_is(self, capsys):
        assert cli.main([*container(self.NAME)["args"], "--help"]) == 0
        assert "Fetch what is new" in capsys.readouterr().out

    def test_one_at_a_time_and_none_for_ever(self):
        spec = JOBS[self.NAME]["spec"]
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
        assert pod(self.NAME)["restartPolicy"] == "Never"

    def test_writes_to_the_catalog_and_has_no_key(self, tmp_path):
        loaded = load_settings(tmp_path, environ=environment(self.NAME))
        assert loaded.keeps_lists
        assert loaded.catalog_url == DATABASES["HASHWARDEN_CATALOG_URL"]
        for each in ("hashwarden-keys", "hashwarden-signing", "hashwarden-tls"):
            assert each not in json.dumps(pod(self.NAME))

    def test_credentials_have_names_that_a_fetch_reads(self, tmp_path):
        """The page's file of variables, as the container finds it."""
        page = (DEPLOY / "README.md").read_text(encoding="utf-8")
        given = dict(re.findall(r"^(HASHWARDEN_EXCHANGE_\w+)=(\S+)$", page, re.MULTILINE))
        load_settings(tmp_path, environ=environment(self.NAME) | given)
        named = re.search(r"hashwarden exchanges add (\S+) --kind ncmec", page)[1]
        names = ("username", "password")
        assert set(exchange_credentials(named, names, given)) == set(names)


def test_replicas_are_renewed_one_by_one_and_scaled():
    name = "hashwarden-replica"
    budget = of_kind("PodDisruptionBudget")[name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == SETS[name]["spec"]["selector"]
    scaler = of_kind("HorizontalPodAutoscaler")[name]["spec"]
    assert scaler["scaleTargetRef"]["name"] == name
    assert scaler["minReplicas"] >= 3
    assert "replicas" not in SETS[name]["spec"], "the autoscaler's number would be set back"
    assert SETS["hashwarden-builder"]["spec"]["replicas"] == 1


def test_only_the_builder_has_the_signing_key_and_the_catalog():
    replica = json.dumps(pod("hashwarden-replica"))
    for each in ("hashwarden-signing", "hashwarden-catalog", "hashwarden-store-writer"):
        assert each in json.dumps(pod("hashwarden-builder"))
        assert each not in replica


def test_nothing_goes_in_or_out_that_is_not_named():
    shut = of_kind("NetworkPolicy")["hashwarden-nothing-else"]["spec"]
    assert shut == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in of_kind("NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule.get("from") or rule.get("to")
            assert rule["ports"]


def probes():
    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    found = {
        f"{name} {kind}": container(name)[kind]["exec"]["command"]
        for name in SETS
        for kind in kinds
    }
    checks = {name: s["healthcheck"]["test"][1:] for name, s in compose()["services"].items()}
    return found | checks


@pytest.fixture(scope="module")
def admin():
    """What answers as the admin port does, well or not."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path in {"/livez", "/readyz"}
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.status = 200
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("text", sorted({json.dumps(each) for each in probes().values()}))
def test_probes_tell_well_from_ill(admin, text):
    _, *arguments = json.loads(text)
    moved = [each.replace("9464", str(admin.server_port)) for each in arguments]
    assert moved != arguments
    for status, expected in ((200, 0), (503, 1)):
        admin.status = status
        done = subprocess.run([sys.executable, *moved], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (expected, b"")


def rows(page):
    return [line for line in (DEPLOY / page).read_text().splitlines() if line.startswith("| ")]


def test_the_answers_page_knows_every_decision_and_reason():
    page = rows("answers.md")
    for decision in match_pb2.Decision.keys()[1:]:
        name = decision.removeprefix("DECISION_")
        assert any(line.startswith(f"| `{name}`") for line in page), name
    for reason in match_pb2.NotHashableReason.keys()[1:]:
        name = reason.removeprefix("NOT_HASHABLE_REASON_")
        assert any(line.startswith(f"| `NOT_HASHABLE`, `{name}`") for line in page), name


#: Reasons that only who manages lists is told.
OF_LISTS = {"EXPORT_NOT_ALLOWED", "UPLOAD_TOO_SLOW"}


def test_the_answers_page_knows_every_refusal_of_matching():
    page = rows("answers.md")
    for kind, code in STATUS_OF:
        if issubclass(kind, errors.MatcherError) and kind.reason not in OF_LISTS:
            lines = [line for line in page if line.startswith(f"| `{code.name}` |")]
            assert any(f"`{kind.reason}`" in line or "| others |" in line for line in lines), kind


def test_the_guide_knows_every_alert():
    rules = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    told = re.findall(r"`(Hashwarden\w+)`", "\n".join(rows("operating.md")))
    assert sorted(told) == sorted(alerts)


def test_clients_in_other_languages_try_again_as_the_python_client():
    config = (ROOT / "docs" / "clients" / "service_config.json").read_text(encoding="utf-8")
    assert json.loads(config) == _RETRIES
