"""`koco up --ray` and `koco down --ray` against a dashboard in memory."""

import copy
import hashlib
import json
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco import __version__, tokens, versions
from koco.client import context_file, known_servers
from koco.client.context_file import Context
from tests.support.dashboard import TOKEN, Ray, Server
from tests.support.memory_plane import KEY, STATUS, Plane, serving
from tests.unit.conftest import Cli


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ray]:
    ray = Ray()
    server = Server(ray, ray.answer)
    ray.url = server.url
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KOCO_URL", "KOCO_KEY", "KOCO_CONTEXT", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    yield ray
    server.close()


@pytest.fixture
def plane() -> Iterator[Plane]:
    """The control plane that the job brings up; its key is what the test says it is."""
    with serving() as plane:
        plane.status = copy.deepcopy(STATUS)
        plane.status["control_plane"] |= {"version": __version__, "code": versions.code_digest()}
        yield plane


def answer(plane: Plane, **more: Any) -> str:
    """Return a job's log: what Ray writes, what the job lacks, and its answer."""
    port = int(plane.url.rpartition(":")[2])
    found = {
        **{"ray": "2.60.0", "version": __version__, "url": plane.url},
        **{"admitted": True, "started": True, "replaced": None, "members": []},
        "start": {"host": "127.0.0.1", "port": port, "data_dir": "/data", "tls_cert": None},
        **more,
    }
    note = json.dumps({"lacking": ["litestar", "uvicorn"]})
    return f"Ray says this\nkoco-note: {note}\nkoco-answer: {json.dumps(found)}\n"


def ordered(ray: Ray) -> dict[str, Any]:
    """Return the order in the last job that was submitted."""
    [body] = [body for method, path, _, body in ray.requests if (method, path) == JOB][-1:]
    words = shlex.split(json.loads(body)["entrypoint"])
    assert words[:3] == ["$KOCO_RAY_PYTHON", "-m", "koco.bootstrap.job"]
    order: dict[str, Any] = json.loads(words[3])
    return order


JOB = ("POST", "/api/jobs/")


def save(ray: Ray, plane: Plane) -> None:
    """Make the cluster known, with the plane's key."""
    context_file.save_context(Context("theirs", plane.url, KEY, {"ray": ray.url}))


def test_a_control_plane_is_brought_to_a_cluster(cli: Cli, ray: Ray, plane: Plane) -> None:
    """Requested options and defaults are sent apart; the running ones are remembered."""
    save(ray, plane)
    ray.log = answer(plane)
    port = plane.url.rpartition(":")[2]
    done = cli("up", "--ray", ray.url, "--port", port, "--set", "max_running=4", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["url"], told["context"], told["dashboard"]) == (plane.url, "theirs", ray.url)
    assert "the cluster lacks litestar, uvicorn" in done.err
    order = ordered(ray)
    assert order["asked"] == {"port": int(port), "url": plane.url}
    assert order["defaults"]["host"] == "127.0.0.1", "the dashboard is on this machine"
    assert order["settings"] == {"max_running": 4}
    [module] = order["environment"]["py_modules"]
    assert module.removeprefix("gcs://") in ray.packages
    context = context_file.find("theirs")
    assert context.cluster == {"ray": ray.url, "api": int(port), "data_dir": "/data"}
    assert KEY not in json.dumps(order), "the key stays here"


def test_one_that_runs_is_found_without_a_job(cli: Cli, ray: Ray, plane: Plane) -> None:
    """A second `koco up` says what is there, and makes its context the current one."""
    save(ray, plane)
    context_file.save_context(Context("other", "http://127.0.0.1:1", "k"))
    done = cli("up", "--ray", ray.url)
    assert (done.code, done.out.strip()) == (0, plane.url), done.err
    assert not [each for each in ray.requests if each[:2] == JOB]
    assert context_file.select().name == "theirs"


def test_nothing_is_left_of_a_key_that_was_not_admitted(cli: Cli, ray: Ray, plane: Plane) -> None:
    """Another user's store refuses it: exit code 6, and the current context stays current."""
    context_file.save_context(Context("other", "http://127.0.0.1:1", "k"))
    ray.log = answer(plane, admitted=False)
    done = cli("up", "--ray", ray.url, "--name", "theirs")
    assert done.code == 6
    assert "--recover-admin" in done.err
    assert list(context_file.load_contexts()) == ["other"]
    assert context_file.select().name == "other"


def test_the_admin_key_can_be_given(
    cli: Cli, ray: Ray, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that keeps no contexts has the same key each time; a new one is sent at once."""
    key = tokens.new()
    save(ray, plane)
    ray.log = answer(plane)
    monkeypatch.setenv("KOCO_ADMIN_KEY", f"{key}\n")
    cli("up", "--ray", ray.url)
    assert ordered(ray)["digest"] == hashlib.sha256(key.encode()).hexdigest()
    assert context_file.load_begun()["theirs"].key == key
    ray.requests.clear()
    monkeypatch.setenv("KOCO_ADMIN_KEY", "koco_letmein")
    ran = cli("up", "--ray", ray.url)
    assert (ran.code, [each for each in ray.requests if each[:2] == JOB]) == (2, [])
    assert "error: KOCO_ADMIN_KEY is not a key\n" in ran.err and "letmein" not in ran.err


def test_a_failed_up_changes_no_context_and_loses_no_key(
    cli: Cli, ray: Ray, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed job may have started the control plane anyway: the next `koco up` has its key."""
    made = iter((KEY, "koco_another"))
    monkeypatch.setattr(tokens, "new", lambda: next(made))
    context_file.save_context(Context("other", "http://127.0.0.1:1", "k"))
    before = context_file.contexts_path().read_bytes()
    ray.job, ray.log = [{"status": "FAILED"}], "something broke"
    done = cli("up", "--ray", ray.url, "--name", "theirs", "--data-dir", "/asked/in/vain")
    assert done.code == 1
    assert "something broke" in done.err
    assert context_file.contexts_path().read_bytes() == before
    begun = context_file.load_begun()["theirs"]
    assert begun.key == KEY
    assert begun.cluster == {"ray": ray.url}, "what was asked in vain is not remembered"
    assert stat.S_IMODE(context_file.begun_path().stat().st_mode) == 0o600
    ray.job, ray.log = [{"status": "SUCCEEDED"}], answer(plane)
    assert cli("up", "--ray", ray.url, "--name", "ours").code == 0, "by whatever name"
    assert context_file.find("ours").key == KEY
    assert context_file.select().name == "ours"
    assert context_file.load_begun() == {}


def test_an_unreachable_control_plane_has_a_hint(cli: Cli, ray: Ray, plane: Plane) -> None:
    """It runs on the head: exit code 3, with its address there, and other ways to it."""
    save(ray, plane)
    before = context_file.contexts_path().read_bytes()
    ray.log = answer(plane, url="http://127.0.0.1:9")
    done = cli("up", "--ray", ray.url, "--public-url", "http://127.0.0.1:9")
    assert done.code == 3
    assert "--public-url" in done.err
    assert "ssh -L" in done.err
    assert context_file.contexts_path().read_bytes() == before
    # Once the way is there, the same command ends well.
    ray.log = answer(plane)
    assert cli("up", "--ray", ray.url, "--public-url", plane.url).code == 0
    assert context_file.find("theirs").url == plane.url


def test_another_control_planes_context_is_not_replaced(cli: Cli, ray: Ray, plane: Plane) -> None:
    """Nothing is submitted; `--name` gives this one another name."""
    context_file.save_context(Context("theirs", "https://koco.example.com", "k"))
    done = cli("up", "--ray", ray.url, "--name", "theirs")
    assert done.code == 2
    assert "--name" in done.err
    assert not [each for each in ray.requests if each[:2] == JOB]


def test_refuses_an_old_ray_before_anything_is_sent(cli: Cli, ray: Ray) -> None:
    """Which it is, and which one koco needs."""
    ray.version = "2.9.3"
    done = cli("up", "--ray", ray.url)
    assert done.code == 1
    assert "Ray 2.9.3" in done.err
    assert ">=2.60" in done.err
    assert not ray.packages


def test_down_reports_its_outcome(cli: Cli, ray: Ray) -> None:
    """Something or nothing; an error of the cluster's is this command's."""
    ray.log = 'koco-answer: {"ended": 1}\n'
    done = cli("down", "--ray", ray.url)
    assert done.code == 0
    assert "the control plane and its runners (1 process)" in done.err
    assert ordered(ray)["action"] == "down"
    ray.log = 'koco-answer: {"ended": 0}\n'
    assert "nothing to stop" in cli("down", "--ray", ray.url).err
    ray.log = 'koco-answer: {"error": {"code": "usage", "message": "no", "hint": "do"}}\n'
    assert cli("down", "--ray", ray.url).code == 2
    ray.log = "killed half-way\n"
    assert "ended without an answer" in cli("down", "--ray", ray.url).err


def test_does_not_wait_for_a_stopped_control_plane(cli: Cli, ray: Ray) -> None:
    """It will not come back by itself: the next command says so at once."""
    url = "http://127.0.0.1:9"
    context_file.save_context(Context("theirs", url, "k", cluster={"ray": ray.url}))
    known_servers.remember(url)
    ray.log = 'koco-answer: {"ended": 1}\n'
    assert cli("down", "--ray", ray.url).code == 0
    assert not known_servers.before(url)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("up", "--ray", "head"), "not the URL of a Ray dashboard"),
        (("up", "--ray-token", "-"), "--ray"),
        (("up", "--name", "theirs"), "--ray"),
        (("up", "--ray", "http://127.0.0.1:9", "--name", "local"), "'local'"),
        (("up", "--ray", "http://127.0.0.1:9", "--free-ports"), "--free-ports"),
        (("up", "--port", "0"), "0 is not a port"),
        (("down", "--ray-token", "-"), "--ray"),
    ],
)
def test_refuses_contradictory_options(
    cli: Cli, ray: Ray, args: tuple[str, ...], says: str
) -> None:
    """Before any request and any start."""
    done = cli(*args)
    assert done.code == 2, done
    assert says in done.err
