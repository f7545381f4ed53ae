"""docs/kubernetes and the Dockerfile: what they say is what Kubernetes, KubeRay and koco take."""

import json
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from koco import __version__
from koco.bootstrap import package
from koco.cli import main
from tests.support.checkout import ROOT
from tests.support.kubernetes_schemas import FOLDER, KINDS

BASE = ROOT / "docs/kubernetes"
THREE = BASE / "three-processes"
PAGE = (ROOT / "docs/kubernetes.md").read_text()
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITIONS = json.loads((FOLDER / "kubernetes.json").read_text())
#: What KubeRay writes on the pods of a RayCluster.
KUBERAY_LABELS = {"ray.io/cluster": "koco", "ray.io/node-type": ""}


def objects() -> list[dict[str, Any]]:
    """Return the objects of the base."""
    texts = [(BASE / name).read_text() for name in KUSTOMIZATION["resources"]]
    return [each for text in texts for each in yaml.safe_load_all(text)]


OBJECTS = objects()


def problems(found: dict[str, Any]) -> list[str]:
    """Return what the published schema has against an object."""
    kind = f"{found['apiVersion']}/{found['kind']}"
    if kind == "ray.io/v1/RayCluster":
        schema = json.loads((FOLDER / "raycluster.json").read_text())
    else:
        schema = {"$ref": f"#/$defs/{KINDS[kind]}"}
    validator = jsonschema.Draft202012Validator({**schema, "$defs": DEFINITIONS})
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(found)]


def the(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def templates() -> Iterator[dict[str, Any]]:
    """Yield the templates of pods."""
    ray = the("RayCluster", "koco")["spec"]
    yield ray["headGroupSpec"]["template"]
    yield from (each["template"] for each in ray["workerGroupSpecs"])
    yield the("StatefulSet", "koco-redis")["spec"]["template"]
    yield the("CronJob", "koco-backup")["spec"]["jobTemplate"]["spec"]["template"]


CONTAINERS = [each for template in templates() for each in template["spec"]["containers"]]


def find(node: Any, key: str) -> Iterator[Any]:
    """Yield the values of a key, wherever it is."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from find(value, key)
    elif isinstance(node, list):
        for each in node:
            yield from find(each, key)


@pytest.mark.parametrize(
    "found", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_each_object_is_as_its_schema_says(found: dict[str, Any]) -> None:
    """Those that Kubernetes 1.34 and KubeRay 1.7 publish."""
    assert problems(found) == []


def test_every_file_is_in_the_kustomization() -> None:
    """No object is forgotten."""
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
    three = yaml.safe_load((THREE / "kustomization.yaml").read_text())
    named = {*three["resources"], *(each["path"] for each in three["patches"] if "path" in each)}
    assert {path.name for path in THREE.iterdir()} - {"kustomization.yaml"} == named


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("RayCluster", "koco", ("spec", "gcsFaultTolerance"), {}),
        ("RayCluster", "koco", ("spec", "authOptions", "mode"), "always"),
        ("RayCluster", "koco", ("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        ("RayCluster", "koco", ("spec", "headGroupSpec", "template", "spec", "volume"), []),
        ("Service", "koco", ("spec", "port"), 8400),
        ("CronJob", "koco-backup", ("spec", "schedule"), 3),
    ],
)
def test_the_schemas_refuse_mistakes(
    kind: str, name: str, path: tuple[str, ...], value: Any
) -> None:
    """Unknown keys, and values of another kind, also within KubeRay's pods."""
    found = json.loads(json.dumps(the(kind, name)))
    *parents, last = path
    inner = found
    for each in parents:
        inner = inner[each]
    inner[last] = value
    assert len(problems(found)) == 1


def test_pods_are_restricted() -> None:
    """As the namespace demands: not root, no further rights, no rights over the cluster."""
    level = the("Namespace", "koco")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"
    for template in templates():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert spec["automountServiceAccountToken"] is False
    for container in CONTAINERS:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_secrets_and_settings_are_those_that_the_page_makes() -> None:
    """Each key that a pod reads is created, and none that is created is unread."""
    made = set(re.findall(r"^    printf .*>(\w+)", PAGE, re.M))
    assert "--from-literal" not in PAGE  # which shows a value in a list of processes
    refs = [*find(OBJECTS, "secretKeyRef")]
    assert {each["name"] for each in refs} == {"koco"}
    # KubeRay reads `auth_token` of this one by itself.
    assert the("RayCluster", "koco")["spec"]["authOptions"]["secretName"] == "koco"
    assert {each["key"] for each in refs} == made
    [generated] = KUSTOMIZATION["configMapGenerator"]
    settings = {each.partition("=")[0] for each in generated["literals"]}
    assert {each["key"] for each in find(OBJECTS, "configMapKeyRef")} == settings


def test_what_is_mounted_is_there() -> None:
    """Volumes by their names, claims, and no secret among the files."""
    claims = {each["metadata"]["name"] for each in OBJECTS if each["kind"].endswith("VolumeClaim")}
    assert set(find(OBJECTS, "claimName")) == claims
    for template in templates():
        volumes = {each["name"] for each in template["spec"].get("volumes", ())} | {"data"}
        for container in template["spec"]["containers"]:
            assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_selectors_select_pods() -> None:
    """Those of services, budgets and policies, by labels of templates or of KubeRay."""
    ours = [template["metadata"]["labels"] for template in templates() if "metadata" in template]
    selectors = [*find(OBJECTS, "podSelector"), *find(OBJECTS, "selector")]
    assert len(selectors) >= 8
    for selector in selectors:
        labels = selector.get("matchLabels", selector)
        of_ray = all(
            name in KUBERAY_LABELS and KUBERAY_LABELS[name] in ("", value)
            for name, value in labels.items()
        )
        assert of_ray or any(labels.items() <= each.items() for each in ours), labels


def test_the_api_is_where_it_is_looked_for() -> None:
    """One port for `koco up`, the service, the probe, the policy and the backup."""
    [up] = [each for each in CONTAINERS if each["name"] == "koco-up"]
    port = int(re.findall(r"--port (\d+)", up["args"][0])[0])
    assert up["readinessProbe"]["httpGet"] == {"path": "/health", "port": port}
    assert the("Service", "koco")["spec"]["ports"][0]["targetPort"] == port
    assert [{"port": port}] in [*find(the("NetworkPolicy", "koco-ray"), "ports")]
    [backup] = [each for each in CONTAINERS if each["name"] == "backup"]
    assert {"name": "KOCO_URL", "value": f"http://koco:{port}"} in backup["env"]
    [head] = [each for each in CONTAINERS if each["name"] == "ray-head"]
    mounted = {each["name"]: each["mountPath"] for each in head["volumeMounts"]}
    assert f"--data-dir {mounted['data']} " in up["args"][0]


def scripts() -> list[str]:
    """Return the scripts of containers, and those of the page."""
    shells = [each["args"][0] for each in CONTAINERS if each.get("command", [""])[0] == "/bin/sh"]
    blocks = re.findall(r"```console\n(.*?)^ *```", PAGE, re.M | re.S)
    return [*shells, *(re.sub(r"^ *\$ ", "", block, flags=re.M) for block in blocks)]


@pytest.mark.parametrize("script", scripts())
def test_scripts_are_such_and_their_commands_exist(script: str) -> None:
    """`sh` reads them; koco's commands have the options that they are called with."""
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    for line in re.findall(
        r"\bkoco ((?:up|down|backup|login|init|doctor|deploy|run|key)\b[^\n|;&>]*)",
        script.replace("\\\n", " "),
    ):
        words = [each for each in shlex.split(line) if each not in ("$@", "$KOCO_UP_OPTIONS", "--")]
        command = main.build().get_command(None, words[0])
        assert command is not None
        if words[0] != "key":
            command.make_context(words[0], words[1:], resilient_parsing=False)


def test_the_scripts_call_koco() -> None:
    """The test above looks at something."""
    assert sum("koco up" in each for each in scripts()) == 3


def instructions(name: str) -> list[str]:
    """Return the values of an instruction of the Dockerfile."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
    return re.findall(rf"^{name} +(.*)$", joined, re.M)


def test_versions_agree() -> None:
    """koco's in the manifests, Ray's in the image and the cluster, Python's in all that says it."""
    from packaging.specifiers import SpecifierSet

    [image] = KUSTOMIZATION["images"]
    assert image["newTag"] == __version__
    assert yaml.safe_load((THREE / "kustomization.yaml").read_text())["images"] == [image]
    assert set(re.findall(r"/koco:([\w.]+)", PAGE)) == {__version__}
    args = dict(each.split("=") for each in instructions("ARG"))
    assert the("RayCluster", "koco")["spec"]["rayVersion"] == args["RAY"]
    assert args["RAY"] in SpecifierSet(package.ray_bounds())
    assert all(each.startswith("python:${PYTHON}-slim") for each in instructions("FROM"))


def test_the_image_has_what_it_copies_and_is_not_roots() -> None:
    """`.dockerignore` lets through exactly that; the user is a number, as Kubernetes needs it."""
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    passed = {each[1:] for each in rules if each.startswith("!")}
    copied = {
        source
        for each in instructions("COPY")
        if not each.startswith("--from")
        for source in each.split()[:-1]
    }
    assert copied == passed
    assert all((ROOT / each).exists() for each in copied)
    assert "*" in rules
    uid, gid = map(int, instructions("USER")[-1].split(":"))
    pod = next(templates())["spec"]["securityContext"]
    assert (uid, gid) == (pod["runAsUser"], pod["runAsGroup"]) and uid > 0


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds kustomizations")
def test_the_overlay_of_the_page_builds(tmp_path: Path) -> None:
    """What it changes is changed, and every object is still as its schema says."""
    [overlay] = [
        each for each in re.findall(r"```yaml\n(.*?)^```", PAGE, re.M | re.S) if "../base\n" in each
    ]
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay/kustomization.yaml").write_text(overlay)
    done = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "overlay"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built = [*yaml.safe_load_all(done.stdout)]
    assert len(built) == len(OBJECTS) + 1
    assert [problem for each in built for problem in problems(each)] == []
    images = {each for each in find(built, "image") if "koco" in each}
    assert images == {f"registry.acme.example/koco:{__version__}"}
    assert {each["metadata"].get("namespace", "koco") for each in built} == {"koco"}
    [settings] = [each for each in built if each["kind"] == "ConfigMap"]
    assert settings["data"]["public_url"] == "https://koco.acme.example"
    [ingress] = [each for each in built if each["kind"] == "Ingress"]
    assert "koco.example.com" not in json.dumps(ingress)
    [ray] = [each for each in built if each["kind"] == "RayCluster"]
    assert ray["spec"]["workerGroupSpecs"][0]["replicas"] == 4


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds kustomizations")
def test_the_patch_for_postgresql_builds(tmp_path: Path) -> None:
    """The head's pod gets the password's file where the options name it."""
    blocks = re.findall(r"```yaml\n(.*?)^ *```", PAGE, re.M | re.S)
    [overlay] = [yaml.safe_load(each) for each in blocks if "../base\n" in each]
    [options] = [
        yaml.safe_load(each)[0]
        for each in blocks
        if "options=" in each and "components:" not in each
    ]
    [patch] = [textwrap.dedent(f"  {each}") for each in blocks if "initContainers" in each]
    overlay["configMapGenerator"][0]["literals"].append(options)
    overlay["patches"].append({"target": {"kind": "RayCluster", "name": "koco"}, "patch": patch})
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay/kustomization.yaml").write_text(yaml.safe_dump(overlay))
    built = subprocess.check_output(["kubectl", "kustomize", tmp_path / "overlay"], text=True)
    found = [*yaml.safe_load_all(built)]
    assert [problem for each in found for problem in problems(each)] == []
    images = {each for each in find(found, "image") if "koco" in each}
    assert images == {f"registry.acme.example/koco:{__version__}"}
    [settings] = [each for each in found if each["kind"] == "ConfigMap"]
    words = shlex.split(settings["data"]["options"])
    main.build().get_command(None, "up").make_context("up", words, resilient_parsing=False)
    [ray] = [each for each in found if each["kind"] == "RayCluster"]
    head = ray["spec"]["headGroupSpec"]["template"]["spec"]
    [path] = re.findall(r"passfile=(\S+)", settings["data"]["options"])
    assert head["initContainers"][0]["command"][-1] == path
    mounts = [each["mountPath"] for each in head["containers"][0]["volumeMounts"]]
    assert str(Path(path).parent) in mounts


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The objects of the page's overlay with the component for three processes."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl builds kustomizations")
    place = tmp_path_factory.mktemp("three")
    blocks = re.findall(r"```yaml\n(.*?)^ *```", PAGE, re.M | re.S)
    [overlay] = [yaml.safe_load(each) for each in blocks if "../base\n" in each]
    [more] = [yaml.safe_load(each) for each in blocks if "components:" in each]
    overlay["configMapGenerator"][0]["literals"] += more["configMapGenerator"][0]["literals"]
    shutil.copytree(BASE, place / "base")
    (place / "overlay").mkdir()
    text = yaml.safe_dump({**overlay, "components": more["components"]})
    (place / "overlay/kustomization.yaml").write_text(text)
    built = subprocess.check_output(["kubectl", "kustomize", place / "overlay"], text=True)
    return [*yaml.safe_load_all(built)]


def only(found: list[dict[str, Any]], kind: str, name: str = "koco") -> dict[str, Any]:
    [one] = [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return one


def test_three_processes_are_as_the_schemas_say(three: list[dict[str, Any]]) -> None:
    """With the overlay's image everywhere, and options that `koco up` takes."""
    assert [problem for each in three for problem in problems(each)] == []
    images = {each for each in find(three, "image") if "koco" in each}
    assert images == {f"registry.acme.example/koco:{__version__}"}
    words = shlex.split(only(three, "ConfigMap")["data"]["options"])
    asked = dict(zip(words[::2], words[1::2], strict=True))
    main.build().get_command(None, "up").make_context("up", words, resilient_parsing=False)
    [group] = [
        each
        for each in only(three, "RayCluster")["spec"]["workerGroupSpecs"]
        if asked["--api-on"] in each.get("resources", {})
    ]
    assert group["resources"][asked["--api-on"]] == "1"
    assert group["rayStartParams"]["num-cpus"] == "0"
    assert group["replicas"] == group["minReplicas"] == int(asked["--api"]) - 1


def test_each_of_the_three_has_what_it_needs_to_lead(three: list[dict[str, Any]]) -> None:
    """The data directory, the database's password, the bucket's keys, and no further rights."""
    spec = only(three, "RayCluster")["spec"]
    pods = [each["template"] for each in (spec["headGroupSpec"], spec["workerGroupSpecs"][-1])]
    options = only(three, "ConfigMap")["data"]["options"]
    [passfile] = re.findall(r"passfile=(\S+)", options)
    made = set(re.findall(r"create secret generic (\S+)", PAGE))
    for pod in pods:
        ray = pod["spec"]["containers"][0]
        mounts = {each["mountPath"]: each["name"] for each in ray["volumeMounts"]}
        assert {mounts["/var/lib/koco"], mounts[str(Path(passfile).parent)]} <= {
            each["name"] for each in pod["spec"]["volumes"]
        }
        assert pod["spec"]["initContainers"][0]["command"][-1] == passfile
        secrets = {each["secretRef"]["name"] for each in ray["envFrom"]}
        assert secrets | {*find(pod["spec"]["volumes"], "secretName")} <= made
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for each in pod["spec"]["containers"] + pod["spec"]["initContainers"]:
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in each["resources"]["limits"]
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
        [drain] = [each for each in ray["env"] if "DRAIN_TIMEOUT" in each["name"]]
        assert int(drain["value"]) < pod["spec"].get("terminationGracePeriodSeconds", 30)
    claim = only(three, "PersistentVolumeClaim", "koco-data")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_three_are_behind_one_service_and_are_moved_one_by_one(
    three: list[dict[str, Any]],
) -> None:
    """Each answers for itself whether it takes requests; no machine has two of them."""
    spec = only(three, "RayCluster")["spec"]
    head, *groups = spec["headGroupSpec"], *spec["workerGroupSpecs"]
    mine = only(three, "Service")["spec"]["selector"].items() - {"ray.io/cluster": "koco"}.items()
    has = [mine <= each["template"]["metadata"]["labels"].items() for each in (head, *groups)]
    assert has == [True, False, True]
    budgets = {
        each["metadata"]["name"]: each["spec"]
        for each in three
        if each["kind"] == "PodDisruptionBudget"
    }
    assert budgets["koco-api"]["minAvailable"] == 2
    assert budgets["koco-api"]["selector"]["matchLabels"].items() >= mine
    assert budgets.keys() == {"koco-api", "koco-workers"}
    assert budgets["koco-workers"]["selector"]["matchLabels"]["ray.io/group"] == "workers"
    for each in (head, groups[-1]):
        pod = each["template"]["spec"]
        [node, _] = pod["topologySpreadConstraints"]
        assert (node["topologyKey"], node["whenUnsatisfiable"]) == (
            "kubernetes.io/hostname",
            "DoNotSchedule",
        )
        assert node["labelSelector"]["matchLabels"].items() >= mine
        probes = [*find(pod, "readinessProbe")]
        assert [probe["httpGet"] for probe in probes] == [{"path": "/health", "port": 8400}]


def test_no_secret_is_an_argument_of_a_command_in_a_pod() -> None:
    """Kubernetes' audit log has them, and everybody's list of processes there."""
    inside = [each for each in PAGE.split("\n$ ") + PAGE.split("\n   $ ") if "exec " in each]
    assert inside
    assert not [
        each for each in inside if re.search(r"(KEY|TOKEN|PASSWORD)=", each.partition("`")[0])
    ]


def test_no_other_pod_may_say_whose_address_a_request_comes_from() -> None:
    """Flows run in pods: a network that is trusted by default would trust them."""
    [found] = KUSTOMIZATION["configMapGenerator"]
    assert "trusted_proxies=" in found["literals"]
