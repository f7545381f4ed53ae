"""docs/ci.md: its pipelines, step by step as they stand there, against a real control plane."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.checkout import ROOT
from tests.support.driver import Done, Koco

PAGE = (ROOT / "docs/ci.md").read_text()
GITHUB, GITLAB, IMAGE = (
    yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)^```", PAGE, re.M | re.S)
)

[IGNORED] = re.findall(r"```text\n(.*?)^```", PAGE, re.M | re.S)

#: What stands for other things than koco: a package index, and GitHub itself.
OTHERS = ("pip install", "gh ")

GOOD = "def greet(who: str = 'you'):\n    return f'Hello, {who}'\n"
BAD = "def greet(who: str = 'you'):\n    raise RuntimeError('not today')\n"


class Checkout:
    """A repository as a pipeline sees it: two variables, and no file of contexts."""

    def __init__(self, koco: Koco) -> None:
        self.koco = koco
        self.root = koco.project("hello", GOOD)
        self.write(GOOD)
        (self.root / ".kocoignore").write_text(IGNORED)
        (koco.root / "nowhere").mkdir(exist_ok=True)
        context = koco.context
        self.env = {
            **koco.env,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "KOCO_HOME": str(koco.root / "nowhere"),
            "KOCO_URL": context["url"],
            "KOCO_KEY": context["key"],
        }

    def write(self, code: str) -> None:
        (self.root / "hello_app.py").write_text(code)

    def step(self, script: str) -> Done:
        """Run a step as both runners do: bash, ended by the first error, in pipes as well."""
        assert "${{" not in script
        shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
        done = subprocess.run(
            shell,
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def greeting(self) -> Any:
        return self.koco.execute("hello/greet", who="Ada").result


def steps(job: dict[str, Any]) -> dict[str, str]:
    """Return a GitHub job's own steps by name."""
    found = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    return {name: run for name, run in found.items() if not any(each in run for each in OTHERS)}


def test_the_pipelines_are_such_and_give_koco_what_it_needs() -> None:
    """YAML with jobs; every stage is one that is named; the key is no literal."""
    assert set(GITHUB["jobs"]) == {"plan", "deploy"}
    assert GITHUB["env"]["KOCO_KEY"] == "${{ secrets.KOCO_KEY }}"
    assert GITHUB["defaults"]["run"]["shell"] == "bash"  # the one that has pipefail
    assert {GITLAB[name]["stage"] for name in ("plan", "deploy", "rollback")} == set(
        GITLAB["stages"]
    )
    for job in GITHUB["jobs"].values():
        assert any("pip install" in step.get("run", "") for step in job["steps"])
    assert GITLAB["default"]["before_script"] == ['pip install "$KOCO_PACKAGE"']
    # What builds the image overrides only arguments that the Dockerfile has.
    given = set(re.findall(r"--build-arg (\w+)=", json.dumps(IMAGE)))
    args = set(re.findall(r"^ARG (\w+)=", (ROOT / "Dockerfile").read_text(), re.M))
    assert given and given <= args


def test_the_github_workflow_plans_deploys_and_goes_back(koco: Koco) -> None:
    """A pull request changes nothing; a release that does not work is gone back from."""
    koco.run("undeploy", "hello", "--cancel", "--yes")  # other tests may have deployed one
    checkout = Checkout(koco)
    plan, deploy = steps(GITHUB["jobs"]["plan"]), steps(GITHUB["jobs"]["deploy"])
    assert list(plan) == ["Check the manifests", "Plan"]
    for script in plan.values():
        checkout.step(script).ok()
    assert "hello" in (checkout.root / "plan.txt").read_text()
    assert "hello" not in {flow["service"] for flow in koco.get("/v1/flows")["items"]}
    for name in ("Look", "Deploy", "Smoke"):
        checkout.step(deploy[name]).ok()
    assert checkout.step(plan["Plan"]).ok(), "nothing to do is fine, too"

    checkout.write(BAD)
    checkout.step(deploy["Deploy"]).ok()
    assert checkout.step(deploy["Smoke"]).code == 1
    checkout.step(deploy["Roll back"]).ok()
    assert checkout.greeting() == "Hello, Ada"


def test_the_gitlab_pipeline_does_the_same(koco: Koco) -> None:
    """Its `script` lines are one script; a release that fails by itself needs no rollback."""
    checkout = Checkout(koco)
    script = {name: "\n".join(GITLAB[name]["script"]) for name in ("plan", "deploy", "rollback")}
    checkout.step(script["plan"]).ok()
    checkout.step(script["deploy"]).ok()
    checkout.write(BAD)
    assert checkout.step(script["deploy"]).code == 1
    checkout.step(script["rollback"]).ok()
    assert checkout.greeting() == "Hello, Ada"

    checkout.write("import no_such_module\n" + GOOD)
    assert checkout.step(script["deploy"]).code == 5
    checkout.step(script["rollback"]).ok()
    assert checkout.greeting() == "Hello, Ada"
