"""The parts of a control plane, built from Go modules once into a cache folder: `python -m tests.cluster.parts`.

The first time takes about eight minutes on two cores, later ones nothing. Nothing else is fetched: there is no engine,
no image and no machine. Nodes and pods are simulated by kwok.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from tests.deploy.custom_resources import DEFINITIONS, KEDA, OPERATOR
from tests.support.go_tools import BUILD_SECONDS, BuildError, Tool, build, go, install

KUBERNETES: Final = "v1.34.4"
STAGING: Final = "v0.34.4"
"""The version of the modules that live in Kubernetes' own repository, in its folder `staging`."""
ETCD: Final = "v3.6.16"
KWOK: Final = "v0.8.0"

VERSIONED: Final = f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}"
"""What Kubernetes' own builds set: Helm refuses a chart whose `kubeVersion` does not fit."""

SOURCE: Final = Path(__file__).with_name("control_plane.go")

_STAGED: Final = re.compile(r"^\s*(k8s\.io/\S+) => \./staging/", re.MULTILINE)


def _downloaded(module: str) -> dict[str, str]:
    """Where a module (with `@` and its version) is: `Dir`, and the file `GoMod`."""
    done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{module}: {(done.stdout + done.stderr)[-1000:]}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _control_plane(folder: Path, until: float) -> Path:
    """etcd, API server, controller manager and scheduler, as one program: they share most of what is compiled."""
    staged = _STAGED.findall(Path(_downloaded(f"k8s.io/kubernetes@{KUBERNETES}")["GoMod"]).read_text())
    module = [
        "module processor/controlplane",
        "go 1.24.0",
        f"require k8s.io/kubernetes {KUBERNETES}",
        f"require k8s.io/component-base {STAGING}",
        f"require go.etcd.io/etcd/server/v3 {ETCD}",
        *(f"replace {name} => {name} {STAGING}" for name in staged),
    ]
    (folder / "go.mod").write_text("\n".join(module) + "\n")
    (folder / "main.go").write_text(SOURCE.read_text())
    go(["go", "mod", "tidy", "-e"], until, folder)
    go(["go", "build", "-trimpath", "-ldflags", f"-s -w {VERSIONED}", "-o", "control-plane", "."], until, folder)
    return folder / "control-plane"


def _stages(folder: Path, _until: float) -> Path:
    """How kwok's simulated nodes and pods behave: its own files, for pods that are ready at once."""
    kustomize = Path(_downloaded(f"sigs.k8s.io/kwok@{KWOK}")["Dir"], "kustomize", "stage")
    parts = [
        file
        for name in ("node/fast", "node/heartbeat-with-lease", "pod/fast")
        for file in (kustomize / name).glob("*.yaml")
    ]
    made = folder / "stages.yaml"
    made.write_text("---\n".join(file.read_text() for file in sorted(parts) if file.name != "kustomization.yaml"))
    return made


def _custom_resources(folder: Path, _until: float) -> Path:
    """The definitions of KEDA's and the Prometheus operator's kinds, from the operators themselves."""
    made = folder / "definitions.yaml"
    try:
        made.write_text(yaml.safe_dump_all(yaml.safe_load(origin.text()) for origin in DEFINITIONS.values()))
    except subprocess.CalledProcessError as error:
        raise BuildError(f"the definitions of custom resources: {error}") from None
    return made


CONTROL_PLANE: Final = Tool(f"control-plane-{KUBERNETES}", _control_plane)
SIMULATOR: Final = Tool(f"kwok-{KWOK}", partial(install, f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}"))
STAGES: Final = Tool(f"kwok-stages-{KWOK}.yaml", _stages)
CUSTOM_RESOURCES: Final = Tool(f"definitions-keda-{KEDA[1]}-operator-{OPERATOR[1]}.yaml", _custom_resources)

PARTS: Final = (STAGES, CUSTOM_RESOURCES, SIMULATOR, CONTROL_PLANE)
"""What takes least time is first."""

if __name__ == "__main__":
    build(PARTS, float(sys.argv[1]) if len(sys.argv) > 1 else 2 * BUILD_SECONDS)
