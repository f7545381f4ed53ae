"""Plans against a real cluster: what is said is what is done, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import Koco

CODE = "def answer():\n    return 1\n"


@pytest.fixture(scope="module")
def project(koco: Koco) -> Path:
    """A project of three services, deployed."""
    root = koco.root / "planned"
    for name in ("plan-a", "plan-b", "plan-c"):
        write(root, name)
    (root / "koco.toml").write_text('[project]\nname = "planned"\nmanifests = ["*/koco.yaml"]\n')
    created = plan(koco, root)
    assert counts(created) == {"create": 3}
    koco.run("deploy", cwd=root).ok()
    return root


def write(root: Path, service: str, code: str = CODE, more: str = "") -> None:
    folder = root / service
    folder.mkdir(parents=True, exist_ok=True)
    module = service.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    flows = f"flows: [{{name: answer, entrypoint: '{module}:answer'}}]"
    (folder / "koco.yaml").write_text(f"service: {service}\n{flows}\nrunner: {{min: 0}}\n{more}")


def plan(koco: Koco, root: Path, *args: str) -> Any:
    return koco.run("plan", "--json", *args, cwd=root).ok().json()


def counts(answer: Any) -> dict[str, int]:
    return {action: count for action, count in answer["counts"].items() if count}


def of(answer: Any, service: str) -> Any:
    return next(item for item in answer["items"] if item["service"] == service)


def live(koco: Koco) -> dict[str, int]:
    return {each["name"]: each["release"] for each in koco.get("/v1/status")["services"]}


def test_what_was_deployed_is_unchanged(koco: Koco, project: Path) -> None:
    """Exit code 0, also of what only touches files; and a deploy sends nothing."""
    (project / "plan-a" / "plan_a.py").touch()
    (project / "plan-a" / "koco.yaml").write_text(
        (project / "plan-a" / "koco.yaml").read_text() + "# a comment changes nothing\n"
    )
    done = koco.run("plan", "--exit-code", cwd=project).ok()
    assert done.out == "3 unchanged\n"
    before = live(koco)
    lines = koco.run("deploy", "--json", cwd=project).ok().lines()
    assert [line["kind"] for line in lines] == ["plan", *["unchanged"] * 3, "status"]
    assert live(koco) == before


def test_a_deploy_does_what_the_plan_said(koco: Koco, project: Path) -> None:
    """Code, settings and environment, each named; settings alone keep the bundle."""
    write(project, "plan-a", CODE.replace("1", "22"))
    write(project, "plan-b", more="author: ada\n")
    done = koco.run("plan", "--exit-code", cwd=project)
    assert done.code == 10, done
    assert "    ~ plan_a.py  " in done.out
    assert '    ~ author  "" → "ada"' in done.out
    said = plan(koco, project)
    assert counts(said) == {"update": 2, "unchanged": 1}
    assert of(said, "plan-a")["parts"] == ["code"]
    assert of(said, "plan-b")["parts"] == ["settings"]
    before = live(koco)
    lines = koco.run("deploy", "--json", cwd=project).ok().lines()
    assert lines[0]["payload"]["items"] == said["items"]
    bundled = [line["payload"]["service"] for line in lines if line["kind"] == "bundled"]
    assert bundled == ["plan-a"]
    after = live(koco)
    assert {name for name in after if after[name] != before.get(name)} == {"plan-a", "plan-b"}
    assert koco.execute("plan-a/answer").result == 22
    releases = {name: release(koco, name, number) for name, number in after.items()}
    assert releases["plan-b"]["bundle"] == release(koco, "plan-b", before["plan-b"])["bundle"]
    assert counts(plan(koco, project)) == {"unchanged": 3}


def release(koco: Koco, service: str, number: int) -> Any:
    return koco.get(f"/v1/services/{service}/releases/{number}")


def test_of_two_who_planned_the_same_one_deploys(koco: Koco, project: Path) -> None:
    """The other is told that there is a newer release, and that nothing was done."""
    write(project, "plan-c", CODE.replace("1", "3"))
    with koco.http() as client:
        item = of(plan(koco, project), "plan-c")
        koco.run("deploy", cwd=project).ok()
        write(project, "plan-c", CODE.replace("1", "4"))
        body = {
            "manifest": release(koco, "plan-c", item["release"])["manifest"],
            "bundle": release(koco, "plan-c", item["release"])["bundle"],
            "expect": item["expect"],
        }
        answer = client.post("/v1/services/plan-c/releases", json=body)
    assert answer.status_code == 409, answer.text
    assert "has changed meanwhile" in answer.json()["detail"]
    assert koco.execute("plan-c/answer").result == 3


def test_two_deploys_at_once_leave_one_of_them(koco: Koco, project: Path, tmp_path: Path) -> None:
    """Each either has its release, or says that somebody was faster; none hides it."""
    other = tmp_path / "other"
    for root, code in ((project, "5"), (other, "6")):
        write(root, "plan-c", CODE.replace("1", code))
    (other / "koco.toml").write_text('[project]\nname = "planned"\n')
    args = ("deploy", "plan-c/koco.yaml")
    both = [koco.popen(*args, cwd=root) for root in (project, other)]
    told = [process.communicate(timeout=100)[1] for process in both]
    for process, err in zip(both, told, strict=True):
        assert process.returncode in (0, 2, 5), err
        said = ("has changed meanwhile", "before this one was ready")
        assert process.returncode == 0 or any(each in err for each in said), err
    assert koco.execute("plan-c/answer").result in (5, 6)


def test_only_prune_removes_and_only_of_its_project(koco: Koco, project: Path) -> None:
    """With `--yes`, where nobody can be asked; other projects' services stay."""
    others = live(koco).keys() - {"plan-b"}
    shelved = project.parent / "shelved"
    (project / "plan-b").rename(shelved)
    write(project, "plan-c")
    koco.run("deploy", cwd=project).ok()
    assert "plan-b" in live(koco)
    said = plan(koco, project, "--prune")
    assert counts(said) == {"unchanged": 2, "remove": 1}
    assert of(said, "plan-b")["action"] == "remove"
    refused = koco.run("deploy", "--prune", cwd=project)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert "plan-b" in live(koco)
    done = koco.run("deploy", "--prune", "--yes", cwd=project).ok()
    assert done.out.splitlines()[-1] == "plan-b  removed"
    assert live(koco).keys() == others
    shelved.rename(project / "plan-b")
    assert counts(plan(koco, project)) == {"unchanged": 2, "create": 1}


def test_programs_ask_for_plans_as_well(koco: Koco) -> None:
    """What makes no sense is refused; what is wrong with a manifest is a problem of its service."""
    service = {"manifest": {"service": "plan-x", "flows": []}, "files": []}
    with koco.http() as client:

        def asked(**body: Any) -> tuple[int, str]:
            answer = client.post("/v1/plan", json=body)
            return answer.status_code, answer.text

        code, text = asked(services=[service])
        [item] = json.loads(text)["items"]
        assert (code, item["action"], item["expect"]) == (200, "create", 0)
        assert item["problems"][0]["path"] == ["flows"]
        code, text = asked(services=[service, service])
        assert (code, "is there twice" in text) == (400, True)
        code, text = asked(services=[], prune=True)
        assert (code, "needs the name of a project" in text) == (400, True)
        code, text = asked(services=[{**service, "bundle": "x"}])
        assert code == 400
