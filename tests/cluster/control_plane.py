"""A control plane of Kubernetes on loopback, with simulated nodes on which every pod is ready at once."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.cluster.parts import CONTROL_PLANE, CUSTOM_RESOURCES, SIMULATOR, STAGES
from tests.support.addresses import free_ports
from tests.support.certificates import Authority
from tests.support.monitoring import Program
from tests.support.until import until

SECONDS: Final = 120.0
"""The time limit for each step of the control plane. On an idle machine, a step takes less than ten seconds."""

NODES: Final = ("node-a", "node-b", "node-c")

STRICT: Final = "fieldValidation=Strict"
"""The API server rejects fields that the resource's definition does not have."""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """A client of the API server, with an administrator's rights."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._url = url
        self._context = context
        self._paths: dict[tuple[str, str], tuple[str, bool]] = {}

    def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", seconds: float = 30.0
    ) -> Any:
        """Send one request; return the response.

        Raises:
            ApiError: it is refused.
            OSError: the API server does not respond.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": content_type, "Accept": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=self._context) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode()
            try:
                message = json.loads(text)["message"]
            except (ValueError, KeyError, TypeError):
                message = text
            raise ApiError(error.code, message) from None
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def get(self, path: str) -> Any:
        """Return the resource, or the list of resources, at the path."""
        return self.call("GET", path)

    def create(self, resource: Mapping[str, Any], namespace: str = "", dry: bool = False) -> Any:
        """Create a resource, with strict validation. With `dry`, the server only validates and admits it."""
        query = f"?{STRICT}&dryRun=All" if dry else f"?{STRICT}"
        return self.call("POST", self.path(resource["apiVersion"], resource["kind"], namespace) + query, resource)

    def patch(self, path: str, body: Any) -> Any:
        """Merge `body` into the resource at the path."""
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def path(self, version: str, kind: str, namespace: str = "") -> str:
        """Return the path of the resources of a kind."""
        if (version, kind) not in self._paths:
            prefix = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            for found in self.get(prefix)["resources"]:
                if "/" not in found["name"]:
                    self._paths[version, found["kind"]] = f"{prefix}/|{found['name']}", found["namespaced"]
        place, is_namespaced = self._paths[version, kind]
        return place.replace("|", f"namespaces/{namespace}/" if is_namespaced else "")


class ControlPlane:
    """etcd, API server, controller manager, scheduler and simulated nodes, running inside the context.

    Args:
        folder: an empty folder for data, certificates and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._programs = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._programs = starting.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._programs.close()

    def _start(self, programs: ExitStack) -> None:
        store, peers, server, manager, scheduler, nodes = free_ports(6)
        authority = Authority(self._folder)
        admin = authority.issue("admin")
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(admin.certificate, admin.key)
        self.api = Api(f"https://127.0.0.1:{server}", context)
        self.kubeconfig.write_text(_kubeconfig(server, authority.certificate, admin.certificate, admin.key))
        programs.enter_context(self._part("etcd", store, _etcd(self._folder, store, peers)))
        api_server = self._part("kube-apiserver", server, _api_server(self._folder, authority, store, server))
        programs.enter_context(api_server)
        until(lambda: self._is_ready(api_server), "the API server is ready", SECONDS, 0.1)
        common = [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1"]
        common += [f"--cert-dir={self._folder}", "--authentication-skip-lookup", "--authorization-always-allow-paths=*"]
        # Simulated nodes do not renew their leases. With this grace period, none counts as lost during the tests.
        own = [f"--service-account-private-key-file={self._folder / 'accounts.key'}", "--node-monitor-grace-period=2h"]
        programs.enter_context(
            self._part("kube-controller-manager", manager, [*common, *own, f"--secure-port={manager}"])
        )
        programs.enter_context(self._part("kube-scheduler", scheduler, [*common, f"--secure-port={scheduler}"]))
        programs.enter_context(self._simulator(nodes))
        self._prepare()

    def _part(self, name: str, port: int, arguments: list[str]) -> Program:
        return Program([str(CONTROL_PLANE.path), name, *arguments], port, self._folder / f"{name}.log")

    def _simulator(self, port: int) -> Program:
        command = [str(SIMULATOR.path), f"--kubeconfig={self.kubeconfig}", f"--config={STAGES.path}"]
        command += ["--manage-all-nodes=true", f"--server-address=127.0.0.1:{port}"]
        return Program(command, port, self._folder / "kwok.log")

    def _is_ready(self, api_server: Program) -> bool:
        api_server.check()
        try:
            return bool(self.api.get("/readyz") == "ok")
        except (ApiError, OSError):
            return False

    def _prepare(self) -> None:
        """Create what the chart expects in a cluster: nodes, a priority class, and the operators' definitions."""
        for name in NODES:
            self.api.create(_node(name))
        self.api.create(
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000}
        )
        for definition in yaml.safe_load_all(CUSTOM_RESOURCES.path.read_text()):
            self.api.create(definition)
        until(self._knows_all, "nodes are ready and definitions are established", SECONDS, 0.1)

    def _knows_all(self) -> bool:
        definitions = self.api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        things = [*self.api.get("/api/v1/nodes")["items"], *definitions]
        return all({"Ready", "Established"} & conditions(thing) for thing in things)

    def namespace(self, name: str) -> None:
        """Create a namespace whose pods must meet the security standard "restricted"."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def conditions(thing: Mapping[str, Any]) -> set[str]:
    """Return the conditions of a resource that hold."""
    found = thing.get("status", {}).get("conditions") or []
    return {each["type"] for each in found if each["status"] == "True"}


def _etcd(folder: Path, port: int, peers: int) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-cluster=default=http://127.0.0.1:{peers}",
        "--unsafe-no-fsync",
    ]


def _api_server(folder: Path, authority: Authority, store: int, port: int) -> list[str]:
    served, accounts = authority.issue("server"), authority.issue("accounts")
    return [
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        "--advertise-address=10.0.0.2",  # it rejects loopback addresses; nothing connects to this one
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={served.certificate}",
        f"--tls-private-key-file={served.key}",
        f"--client-ca-file={authority.certificate}",
        "--authorization-mode=AlwaysAllow",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
    ]


def _kubeconfig(port: int, authority: Path, certificate: Path, key: Path) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority)},
                }
            ],
            "users": [{"name": "admin", "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }
    )


def _node(name: str) -> dict[str, Any]:
    capacity = {"cpu": "32", "memory": "64Gi", "pods": "110"}
    labels = {"disk": "ssd", "topology.kubernetes.io/zone": name, "kubernetes.io/hostname": name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
