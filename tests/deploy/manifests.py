"""The deployments' files as data. The one door to PyYAML's untyped answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["DEPLOY", "ROOT", "containers", "documents", "pod_of"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def pod_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the pod's spec in a workload, None where it has none."""
    pod: dict[str, Any] | None = document.get("spec", {}).get("template", {}).get("spec")
    return pod


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod, init ones first."""
    return [*pod.get("initContainers", []), *pod["containers"]]
