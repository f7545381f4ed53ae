"""Services that were written for Kodosumi, converted and deployed as they are: many at once on two
cores, and their resources changed.
"""

import textwrap
import time
from pathlib import Path

import pytest

from tests.support.driver import Done, Koco, eventually

#: How long seven services may take on a busy machine (seconds). On an idle one it is a tenth.
_PATIENCE_S = 400
pytestmark = pytest.mark.timeout(2 * _PATIENCE_S)

#: As they come from Kodosumi: their deployment names no resources.
CODE = """
    from fastapi import Request
    from kodosumi.core import Launch, ServeAPI, Tracer, forms as F
    from ray import serve

    app = ServeAPI()

    @app.enter("/", model=F.Model(F.InputText(name="who", label="Who"), F.Submit("Go")))
    async def enter(request: Request, inputs: dict):
        return Launch(request, run, inputs=inputs)

    async def run(inputs: dict, tracer: Tracer):
        await tracer.markdown("# Hello", inputs["who"])
        return inputs["who"]

    @serve.deployment(graceful_shutdown_timeout_s=0.1, graceful_shutdown_wait_loop_s=0.1)
    @serve.ingress(app)
    class Ported:
        pass

    fast_app = Ported.bind()
"""


def project(koco: Koco, names: list[str], *, cpus: float | None = None) -> Path:
    """Write a project of Kodosumi's, and convert it; return its folder."""
    root = koco.root / "ported"
    (config := root / "data/config").mkdir(parents=True, exist_ok=True)
    for old in (*config.glob("*"), *root.glob("*.yaml"), *root.glob("koco.toml")):
        old.unlink()
    (config / "config.yaml").write_text("http_options: {port: 8001}\n")
    for name in names:
        (root / name).mkdir(exist_ok=True)
        (root / name / "app.py").write_text(textwrap.dedent(CODE))
        text = f"import_path: {name}.app:fast_app\nroute_prefix: /{name}\n"
        if cpus is not None:
            text += f"deployments: [{{name: Ported, ray_actor_options: {{num_cpus: {cpus}}}}}]\n"
        (config / f"{name}.yaml").write_text(text)
    koco.run("init", "--from", "data/config/config.yaml", cwd=root).ok()
    return root


def deploy(koco: Koco, root: Path, *manifests: str) -> float:
    """Deploy services of a project, all by default; return how long it took (seconds)."""
    process = koco.popen("deploy", "--json", *manifests, cwd=root)
    done = Done(process.wait(_PATIENCE_S), *process.communicate()).ok()
    return float(max(x["payload"]["took_s"] for x in done.lines() if x["kind"] == "live"))


def parts_s(koco: Koco, service: str) -> float:
    """Return how long a release's runner and its replica took to come up (seconds)."""
    timings = koco.run("releases", service, "--json").ok().json()["items"][0]["timings"]
    return float(timings["environment"] + timings["import"] + timings["replicas"])


def test_seven_ported_services_come_up_in_the_time_of_their_parts(koco: Koco) -> None:
    """None waits for another's core, because a deployment that names no CPU asks for none."""
    names = [f"ported{number}" for number in range(7)]
    root = project(koco, names)
    before, *others, after = (f"{name}.koco.yaml" for name in (names[0], *names[1:], "later"))
    deploy(koco, root, before)
    together_s = deploy(koco, root, *others)
    # Once before and once after, because the rest of the machine may become busier.
    deploy(koco, project(koco, [*names, "later"]), after)
    alone_s = max(parts_s(koco, names[0]), parts_s(koco, "later"))
    print(f"one alone {alone_s:.1f} s, six together {together_s:.1f} s")
    assert together_s <= 1.2 * len(others) * alone_s
    for name in names:
        assert koco.execute(f"{name}/{name}", who="Ada").result == "Ada"


def test_resources_change_one_after_the_other_while_former_releases_serve(koco: Koco) -> None:
    """Not all new replicas fit beside the former ones, but each makes room for the next."""
    names = [f"change{number}" for number in range(3)]
    deploy(koco, project(koco, names, cpus=0.6))
    process = koco.popen("deploy", cwd=project(koco, names, cpus=0.2))
    while process.poll() is None:
        for name in names:
            assert koco.execute(f"{name}/{name}", who="Ada").result == "Ada"
        time.sleep(0.5)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert all(f"{name}  release 2  live" in out for name in names), out
    for name in names:
        koco.run("undeploy", name, "--yes").ok()


def test_a_smaller_release_takes_the_place_of_one_that_waits_for_room(koco: Koco) -> None:
    """The newer one does not wait for the older, and the live one serves all the time."""
    koco.deploy("busy", "def run():\n    return 1\n", runner={"min": 1, "resources": {"CPU": 1}})
    deploy(koco, project(koco, ["stuck"], cpus=0.1))
    first = koco.popen("deploy", cwd=project(koco, ["stuck"], cpus=1.9))
    eventually(lambda: "1.9" in str(koco.get("/v1/services/stuck/releases/2").get("waits_for")))
    assert koco.execute("stuck/stuck", who="Ada").result == "Ada"
    assert first.stderr
    said = next(line for line in first.stderr if "waits for room" in line)  # it asks now and then
    second_s = deploy(koco, project(koco, ["stuck"], cpus=0.05))
    _, rest = first.communicate(timeout=30)
    err = f"{said}{rest}"
    print(f"the newer one took {second_s:.1f} s\n{err}")
    assert first.returncode == 5, err
    assert "waits for room: 0 of 1 replicas of Ported run; each asks for 1.9 CPU" in err
    assert "no node has free 1.9 CPU" in err and "a runner of busy/1 (1 CPU)" in err
    assert "deployed release 3 before this one was ready" in err
    assert koco.execute("stuck/stuck", who="Ada").result == "Ada"
    koco.run("undeploy", "busy", "--yes").ok()
