from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.deploy.manifests import DEPLOY, containers, documents, pod_of
from tests.deploy.schemas import RefusedByApi, newest_version, validate

from livespan.proto.errors import InvalidInput
from livespan.proto.home import Home

pytestmark = pytest.mark.outside

FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
WORKLOADS = [
    pytest.param(pod, id=f"{path.name}-{document['kind']}")
    for path in FILES
    for document in documents(path)
    if (pod := pod_of(document)) is not None
]


@pytest.mark.parametrize("version", ["1.29", newest_version()])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_manifests_are_what_the_api_takes(path: Path, version: str) -> None:
    for document in documents(path):
        validate(document, version)


def test_a_field_that_the_api_does_not_know_is_refused() -> None:
    [_, workload] = documents(DEPLOY / "kubernetes" / "statefulset.yaml")
    workload["spec"]["template"]["spec"]["initContainers"][0]["restart"] = "Always"
    with pytest.raises(RefusedByApi):
        validate(workload, newest_version())


@pytest.mark.parametrize("pod", WORKLOADS)
def test_the_collector_is_a_native_sidecar_with_probes(pod: dict[str, Any]) -> None:
    [sidecar] = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    asked = {name: sidecar[name]["exec"]["command"][-1] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {"startupProbe": "ready", "readinessProbe": "ready", "livenessProbe": "live"}
    assert all(sidecar[name]["timeoutSeconds"] >= 5 for name in asked)
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert pod["shareProcessNamespace"] is True


@pytest.mark.parametrize("pod", WORKLOADS)
def test_no_container_can_write_but_to_its_volumes_or_become_root(pod: dict[str, Any]) -> None:
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 65532)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in containers(pod):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/lib/livespan", "/tmp"}
        assert "requests" in container["resources"]


@pytest.mark.parametrize("pod", WORKLOADS)
def test_agents_start_no_collector_of_their_own(pod: dict[str, Any]) -> None:
    [agent] = pod["containers"]
    assert agent["env"] == [{"name": "LIVESPAN_ENDPOINT", "value": "unix:/var/lib/livespan/home/collector.sock"}]


def test_a_home_that_a_mount_has_made_writable_by_the_group_is_refused_with_the_way_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.root.chmod(0o2770)  # as the kubelet does with fsGroupChangePolicy: Always
    with pytest.raises(InvalidInput, match="others may write to it") as refused:
        home.create()
    assert f"chmod 700 {home.root}" in refused.value.hint


def test_one_home_outlives_the_pod_and_the_other_does_not() -> None:
    [_, stateful] = documents(DEPLOY / "kubernetes" / "statefulset.yaml")
    [claim] = stateful["spec"]["volumeClaimTemplates"]
    assert (claim["metadata"]["name"], claim["spec"]["accessModes"]) == ("livespan", ["ReadWriteOncePod"])
    [job] = documents(DEPLOY / "kubernetes" / "job.yaml")
    pod = pod_of(job)
    assert pod is not None
    assert stateful["spec"]["template"]["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert pod["restartPolicy"] == "OnFailure"
    assert {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume} == {"livespan", "tmp"}
