"""`koco down` on this machine where nothing of koco runs, and something else took its ports."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from koco.cli.cluster import local_down, local_home
from koco.client import context_file
from koco.client.context_file import LOCAL, Context
from tests.unit.conftest import Cli

NOTHING = "there is nothing to stop"


class Silent(NamedTuple):
    """Where a cluster was: programs that accept connections and are silent."""

    ray: socket.socket
    api: socket.socket
    #: What the context keeps of the cluster, which `koco up` had joined by RAY_ADDRESS.
    cluster: dict[str, str]

    @property
    def context(self) -> Context:
        return Context(LOCAL, f"http://127.0.0.1:{self.api.getsockname()[1]}", "key", self.cluster)

    def was_asked(self) -> bool:
        """Whether anybody has connected to the API's port."""
        try:
            self.api.accept()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Silent]:
    """Save the context of a cluster that is silent."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(local_down, "_COUNT_S", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as ray,
        socket.create_server(("127.0.0.1", 0)) as api,
    ):
        api.setblocking(False)
        address = f"127.0.0.1:{ray.getsockname()[1]}"
        found = Silent(ray, api, {"address": address, "asked": address})
        context_file.save_context(found.context)
        yield found


def test_asks_nobody_if_the_last_one_has_stopped_it(silent: Silent, cli: Cli) -> None:
    """It is known to be stopped, so what listens there by now is something else."""
    local_home.note_stop(silent.context)
    down = cli("down")
    assert (down.code, NOTHING in down.err) == (0, True)
    assert not silent.was_asked()


def test_a_note_is_for_one_cluster(silent: Silent) -> None:
    """And until that one starts again, or another takes its place."""
    known = silent.context
    local_home.note_stop(known)
    assert local_home.is_stopped(known)
    assert not local_home.is_stopped(known._replace(cluster={"address": "127.0.0.1:1"}))
    local_home.forget_stop()
    assert not local_home.is_stopped(known)
    local_home.note_stop(known)
    local_home.save_answering(known)
    assert not local_home.is_stopped(known)


def test_asks_nobody_where_another_program_has_taken_rays_port(silent: Silent, cli: Cli) -> None:
    """Only a head's process on this machine can have been joined without being named."""
    del silent.cluster["asked"]
    context_file.save_context(silent.context)
    down = cli("down")
    assert (down.code, NOTHING in down.err) == (0, True)
    assert not silent.was_asked()


def test_gives_up_a_ray_that_is_silent(silent: Silent, cli: Cli) -> None:
    """It was joined and not left, so that is an error, and it says who does not answer."""
    down = cli("down")
    assert down.code == 1
    address = silent.cluster["address"]
    assert f"cannot join the Ray at {address}: it has not answered for 10 s" in down.err
    assert "hint: does a Ray still run there?" in down.err
    assert silent.was_asked(), "how many executions are open"
