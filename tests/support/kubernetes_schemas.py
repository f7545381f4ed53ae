"""Cut the published schemas of Kubernetes and KubeRay down to the kinds in docs/kubernetes.

    python -m tests.support.kubernetes_schemas DEFINITIONS CRD

`DEFINITIONS` is `_definitions.json` of Kubernetes' schemas, `CRD` is `ray.io_rayclusters.yaml`:
tests/corpus/kubernetes/README.md says where they come from. Descriptions are left out. The CRD
repeats the schema of a pod for each of its groups: Kubernetes' own stands for all of them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.checkout import ROOT

FOLDER = ROOT / "tests/corpus/kubernetes"
#: The kinds in docs/kubernetes, and the definition of each.
KINDS = {
    "v1/ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "v1/Namespace": "io.k8s.api.core.v1.Namespace",
    "v1/PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "v1/Service": "io.k8s.api.core.v1.Service",
    "apps/v1/StatefulSet": "io.k8s.api.apps.v1.StatefulSet",
    "batch/v1/CronJob": "io.k8s.api.batch.v1.CronJob",
    "networking.k8s.io/v1/Ingress": "io.k8s.api.networking.v1.Ingress",
    "networking.k8s.io/v1/NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "policy/v1/PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}
#: What the CRD copies of Kubernetes, by the name of its property.
_COPIES = {
    "template": "io.k8s.api.core.v1.PodTemplateSpec",
    "headService": "io.k8s.api.core.v1.Service",
}


def cut(node: Any) -> Any:
    """Return a schema without descriptions, and closed: no keys that it does not name."""
    if isinstance(node, list):
        return [cut(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        if key == "properties":  # a property may be called `description`
            found[key] = {name: cut(each) for name, each in value.items()}
        elif key not in ("description", "default", "format") and not key.startswith("x-"):
            found[key] = cut(value)
    if node.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
        found.pop("anyOf", None)
        found.pop("pattern", None)
    is_open = node.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in found and not is_open:
        found.setdefault("additionalProperties", False)
    return found


def definitions(path: Path) -> dict[str, Any]:
    """Return the definitions of the kinds, and those that they name, by name."""
    every = json.loads(path.read_text())
    every = every["$defs"]
    wanted, found = [*KINDS.values(), *_COPIES.values()], {}
    while wanted:
        if (name := wanted.pop()) not in found:
            found[name] = cut(every[name])
            text = json.dumps(found[name])
            wanted += [each.partition('"')[0] for each in text.split("#/$defs/")[1:]]
    return dict(sorted(found.items()))


def custom(path: Path) -> dict[str, Any]:
    """Return the schema of a RayCluster."""
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    [served] = [each for each in versions if each["name"] == "v1"]
    schema: dict[str, Any] = cut(_shared(served["schema"]["openAPIV3Schema"]))
    schema["properties"]["metadata"] = {"type": "object"}
    del schema["properties"]["status"]
    return schema


def _shared(node: Any) -> Any:
    if isinstance(node, list):
        return [_shared(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {"$ref": f"#/$defs/{_COPIES[key]}"} if key in _COPIES else _shared(value)
        for key, value in node.items()
    }


def main() -> None:
    """Write the schemas."""
    kubernetes, kuberay = map(Path, sys.argv[1:3])
    for name, made in (("kubernetes", definitions(kubernetes)), ("raycluster", custom(kuberay))):
        (FOLDER / f"{name}.json").write_text(f"{json.dumps(made, separators=(',', ':'))}\n")


if __name__ == "__main__":
    main()
