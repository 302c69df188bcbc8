"""The chart in a control plane: accepted, ready, upgraded, rolled back, drained, scaled; and what is wrong, refused."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from tests.cluster.control_plane import NODES, SECONDS, ApiError, ControlPlane
from tests.cluster.release import Release, in_namespace
from tests.deploy.chart import CASES, resources, values_of
from tests.support.helm_chart import CHART
from tests.support.kafka_jars import PROJECT
from tests.support.until import until

REPLICAS = {"basic": 2, "everything": 2, "handlers": 1, "keda": 1, "metrics": 2, "static": 3}
"""Pods of each case. `everything` has those of its autoscaler; what scales `keda`, KEDA itself, is not here."""

QUICK: dict[str, Any] = {"minReadySeconds": 0}
"""Pods count as available once they are ready: these tests are about what follows from that."""


@pytest.fixture
def release(cluster: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Release]:
    with in_namespace(cluster, request.node.name) as made:
        yield made


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_accepted_strictly_and_gets_ready_under_the_restricted_standard(
    case: str, cluster: ControlPlane, release: Release
) -> None:
    for resource in resources(values_of(case)).values():
        cluster.api.create(resource, release.namespace, dry=True)
    release.install(CHART, values_of(case))
    release.until_ready(REPLICAS[case])
    assert release.history() == ["deployed"]


def test_a_pod_that_breaks_the_restricted_standard_is_refused_here(cluster: ControlPlane, release: Release) -> None:
    """So that the tests of the cases show something."""
    workload = next(found for name, found in resources(values_of("basic")).items() if name.startswith("Deployment/"))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": workload["spec"]["template"]["spec"]}
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    del pod["spec"]["serviceAccountName"]
    accounts = f"/api/v1/namespaces/{release.namespace}/serviceaccounts"
    until(lambda: release.listed(accounts), "the namespace has its default account", SECONDS)
    with pytest.raises(ApiError, match=r'violates PodSecurity "restricted.*allowPrivilegeEscalation'):
        cluster.api.create(pod, release.namespace, dry=True)


@pytest.mark.parametrize(("case", "kind"), [("keda", "ScaledObject"), ("metrics", "PodMonitor")])
def test_a_field_that_an_operator_does_not_know_is_refused_here(
    case: str, kind: str, cluster: ControlPlane, release: Release
) -> None:
    found = next(each for name, each in resources(values_of(case)).items() if name.startswith(f"{kind}/"))
    with pytest.raises(ApiError, match=r'unknown field "spec\.spelled"'):
        cluster.api.create({**found, "spec": {**found["spec"], "spelled": "wrong"}}, release.namespace, dry=True)
    with pytest.raises(ApiError, match="spec"):
        cluster.api.create({**found, "spec": {}}, release.namespace, dry=True)


def chart_before(folder: Path) -> Path:
    """The chart as it was before its last change in the history of this repository."""
    chart = CHART.relative_to(PROJECT).as_posix()
    last = git("log", "-1", "--format=%H", "--", chart).decode().strip()
    if not last or not git("rev-parse", "--verify", "--quiet", f"{last}^"):
        pytest.skip("the history of this repository has no chart before this one")
    with tarfile.open(fileobj=io.BytesIO(git("archive", f"{last}^", chart))) as archive:
        archive.extractall(folder, filter="data")
    return folder / chart


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=PROJECT, stdout=subprocess.PIPE, check=False).stdout


@pytest.mark.parametrize("case", ["basic", "static"])
def test_an_upgrade_from_the_chart_before_replaces_the_pods_and_a_rollback_brings_it_back(
    case: str, release: Release, tmp_path: Path
) -> None:
    values, more = {**values_of(case), **QUICK}, {"podAnnotations": {"example.com/release": "2"}}
    release.install(chart_before(tmp_path), values)
    release.until_ready(REPLICAS[case])
    before = {pod["metadata"]["uid"] for pod in release.pods()}
    release.upgrade(CHART, {**values, **more})
    release.until_ready(REPLICAS[case])
    assert all(pod["metadata"]["annotations"]["example.com/release"] == "2" for pod in release.pods())
    assert before.isdisjoint(pod["metadata"]["uid"] for pod in release.pods())
    release.helm.rollback("r", version=1)
    release.until_ready(REPLICAS[case])
    assert not any("example.com/release" in pod["metadata"].get("annotations", {}) for pod in release.pods())
    assert release.history() == ["superseded", "superseded", "deployed"]


def test_a_drain_evicts_one_pod_at_a_time_as_the_disruption_budget_requires(release: Release) -> None:
    release.install(CHART, {**values_of("basic"), **QUICK, "replicas": 3})
    release.until_ready(3)
    until(lambda: release.budget().get("disruptionsAllowed") == 1, release.budget, SECONDS)
    first, second, _ = release.pods()
    for node in NODES:  # what replaces an evicted pod has no place, so that one is missing for sure
        release.cordon(node)
    try:
        assert release.is_evicted(first)
        until(lambda: len([pod for pod in release.pods() if pod["spec"].get("nodeName")]) == 2, release.pods, SECONDS)
        assert not release.is_evicted(second)
    finally:
        for node in NODES:
            release.cordon(node, False)
    release.until_ready(3)
    until(lambda: release.is_evicted(second), "the next pod may be evicted", SECONDS, 0.1)
    release.until_ready(3)


def test_a_release_can_be_scaled_manually(release: Release) -> None:
    release.install(CHART, {**values_of("basic"), **QUICK})
    release.until_ready(2)
    release.scale(5)
    release.until_ready(5)
    release.scale(1)
    release.until_ready(1)


def test_an_autoscaler_may_change_the_count_that_an_upgrade_then_leaves(release: Release) -> None:
    values = {**values_of("everything"), **QUICK}
    release.install(CHART, values)
    release.until_ready(2)
    release.scale(4)  # as the autoscaler does
    release.until_ready(4)
    release.upgrade(CHART, {**values, "podAnnotations": {"example.com/release": "2"}})
    release.until_ready(4)


def test_a_value_that_the_cluster_refuses_changes_nothing_that_runs(release: Release) -> None:
    values = {**values_of("basic"), **QUICK}
    release.install(CHART, values)
    release.until_ready(2)
    before = {pod["metadata"]["uid"] for pod in release.pods()}
    wrong = {"limits": {"memory": "a lot"}}
    with pytest.raises(helm_python.HelmError, match="quantities must match the regular expression"):
        release.upgrade(CHART, {**values, "resources": wrong})
    release.until_ready(2)
    assert {pod["metadata"]["uid"] for pod in release.pods()} == before
    assert release.history() == ["deployed", "failed"]


def test_a_value_that_the_chart_refuses_does_not_reach_the_cluster(release: Release) -> None:
    with pytest.raises(helm_python.HelmError, match="workrs"):
        release.install(CHART, {**values_of("basic"), "config": {**values_of("basic")["config"], "workrs": 3}})
    assert release.listed(f"/apis/apps/v1/namespaces/{release.namespace}/deployments") == []
