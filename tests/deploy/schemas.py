"""The one typed door to kubernetes-validate, which ships the API's JSON schemas and no types."""

from __future__ import annotations

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none

__all__ = ["RefusedByApi", "newest_version", "validate"]

_untyped: Any = kubernetes_validate
RefusedByApi: type[Exception] = _untyped.ValidationError


def newest_version() -> str:
    """Return the newest release of Kubernetes whose schemas are here, as `1.NN`."""
    version: str = _untyped.latest_version()
    return version.rpartition(".")[0]


def validate(document: dict[str, Any], version: str) -> None:
    """Return where the API of a release would take a manifest, unknown fields refused; else raise `RefusedByApi`."""
    _untyped.validate(document, version, strict=True)
