"""What the Compose file and the Kubernetes manifests say, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"


def compose() -> dict[str, Any]:
    """The Compose file, anchors and merges resolved."""
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def kustomization() -> dict[str, Any]:
    """What is applied, and what is made of files."""
    return yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))


def manifests() -> list[dict[str, Any]]:
    """Every object that the kustomization names, as it is written."""
    return [
        each
        for name in kustomization()["resources"]
        for each in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))
    ]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind by their names."""
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


def env_file(name: str) -> dict[str, str]:
    """The settings in a file of lines `NAME=value`, as kustomize reads it."""
    lines = (KUBERNETES / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Where the volumes and folders of a Compose service lie in its container."""
    return {inside: outside for outside, inside, *_ in (v.split(":") for v in service["volumes"])}


def scan_manifests(name: str) -> list[dict[str, Any]]:
    """The objects of a file about scans with many machines."""
    text = (DEPLOY / "scan" / name).read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def pods_of_the_cluster() -> list[dict[str, Any]]:
    """The templates of the pods of Ray's cluster."""
    (cluster,) = (x for x in scan_manifests("ray-cluster.yaml") if x["kind"] == "RayCluster")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [each["template"] for each in groups]
