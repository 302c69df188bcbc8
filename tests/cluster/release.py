"""A release of the chart in a namespace of its own: installed by Helm, looked at and changed through the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import helm_python

from tests.cluster.control_plane import SECONDS, ApiError, ControlPlane, conditions
from tests.support.until import until

EVICTION: Final = {"apiVersion": "policy/v1", "kind": "Eviction"}
REFUSED: Final = 429
"""What the API server responds to an eviction that a disruption budget does not allow."""

NAME: Final = "r"


class Release:
    """A release `r` in a namespace.

    Args:
        cluster: where.
        helm: Helm, for the namespace.
        namespace: the namespace.
    """

    def __init__(self, cluster: ControlPlane, helm: helm_python.Config, namespace: str) -> None:
        self.helm = helm
        self.namespace = namespace
        self._api = cluster.api

    def install(self, chart: Path, values: dict[str, Any]) -> None:
        """Install the chart, without a wait."""
        self.helm.install(chart, NAME, values, namespace=self.namespace)

    def upgrade(self, chart: Path, values: dict[str, Any]) -> None:
        """Upgrade to a chart or to values."""
        self.helm.upgrade(chart, NAME, values, namespace=self.namespace, reset_values=True)

    def history(self) -> list[str]:
        """Return the status of each revision, the first one first."""
        return [str(revision["status"]) for revision in self.helm.history(NAME)]

    def workload(self) -> dict[str, Any]:
        """Return its Deployment or StatefulSet."""
        for kind in ("deployments", "statefulsets"):
            if found := self.listed(f"/apis/apps/v1/namespaces/{self.namespace}/{kind}"):
                return found[0]
        raise AssertionError("there is no workload")

    def pods(self) -> list[dict[str, Any]]:
        """Return its pods that are not being deleted."""
        found = self.listed(f"/api/v1/namespaces/{self.namespace}/pods")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def budget(self) -> dict[str, Any]:
        """Return the status of its disruption budget."""
        (found,) = self.listed(f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets")
        status: dict[str, Any] = found.get("status", {})
        return status

    def listed(self, path: str) -> list[dict[str, Any]]:
        """Return what is listed at a path."""
        items: list[dict[str, Any]] = self._api.get(path)["items"]
        return items

    def until_ready(self, replicas: int) -> None:
        """Wait until exactly so many pods are up to date, ready and available, and no other is left."""
        until(lambda: self._is_ready(replicas), lambda: self.workload()["status"], SECONDS, 0.1)

    def _is_ready(self, replicas: int) -> bool:
        workload, pods = self.workload(), self.pods()
        status = workload.get("status", {})
        counts = {status.get(f"{name}Replicas") for name in ("updated", "ready", "available")}
        is_seen = status.get("observedGeneration") == workload["metadata"]["generation"]
        return is_seen and counts == {replicas} == {len(pods)} and all("Ready" in conditions(pod) for pod in pods)

    def scale(self, replicas: int) -> None:
        """Scale its Deployment by hand, as `kubectl scale` does."""
        name = self.workload()["metadata"]["name"]
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}/scale"
        self._api.patch(path, {"spec": {"replicas": replicas}})

    def is_evicted(self, pod: dict[str, Any]) -> bool:
        """Ask for the eviction of a pod, as `kubectl drain` does; return whether its budget allows it."""
        name = pod["metadata"]["name"]
        eviction = {**EVICTION, "metadata": {"name": name, "namespace": self.namespace}}
        try:
            self._api.call("POST", f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction", eviction)
        except ApiError as error:
            if error.status == REFUSED:
                return False
            raise
        return True

    def cordon(self, node: str, is_cordoned: bool = True) -> None:
        """Let no pod be scheduled to a node, or let them again."""
        self._api.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": is_cordoned}})


@contextmanager
def in_namespace(cluster: ControlPlane, test: str) -> Iterator[Release]:
    """A namespace, named after a test, in which a chart can be installed."""
    namespace = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")[-60:].strip("-")
    cluster.namespace(namespace)
    with helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=namespace) as helm:
        yield Release(cluster, helm, namespace)
