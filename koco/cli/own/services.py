"""Deploy services of one's own, and remove them at the end of the command."""

import contextlib
import fcntl
import getpass
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

from koco.cli import connection
from koco.cli.deploy import pack, plan, ship, wait_live
from koco.cli.own import guard
from koco.client import context_file
from koco.client.answers import AnyRelease
from koco.errors import ConflictError, Interrupted, ManifestError, NotFoundError
from koco.manifest.rules import owner_name
from koco.project import project

if TYPE_CHECKING:
    from koco.client.client import Client
    from koco.project.project import Target

#: How long to wait for the services of a command that is just being cleaned up (seconds).
_TAKEN_S = 10.0
#: How long the guard may take to end (seconds).
_GUARD_S = 5.0


class Quiet(ship.Report):
    """Reports only what is waited for: the caller tells the rest."""

    def __init__(self) -> None:
        super().__init__(as_json=False)

    def step(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Report progress, if it is a wait."""
        if kind == "waiting":
            super().step(kind, service, text, **facts)

    def result(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Ignore an outcome."""


class Services:
    """A person's own services on a control plane, while a command runs."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.owner = owner(client)
        #: The names of the services that were begun.
        self.names: list[str] = []
        self._locks: dict[str, TextIO] = {}
        self._guard: subprocess.Popen[str] | None = None
        self._is_closed = False

    def own(self, found: Sequence["Target"]) -> list["Target"]:
        """Return the person's own copies of targets, checked.

        Raises:
            ManifestError: some manifests are invalid; it has all problems.
        """
        copies = [replace(each, owner=self.owner) for each in found]
        valid, problems = project.check(copies, environ=os.environ)
        if problems:
            raise ManifestError(problems)
        return valid

    def deploy(
        self,
        targets: Sequence["Target"],
        *,
        on_plan: Callable[[plan.Plan], object] = lambda planned: None,
        report: ship.Report | None = None,
    ) -> list[AnyRelease]:
        """Deploy targets, wait until they are live, and return the new releases.

        `on_plan` is called with the plan before it is carried out, `report` with each step.

        Raises:
            DeployError: one did not become ready.
            ManifestError: the plan has problems.
            ConflictError: another command of this person has a service.
        """
        report = report or Quiet()
        planned = plan.ask(self.client, [plan.Found.at(each) for each in targets], prune=False)
        with ExitStack() as stack:
            planned, bundles = pack.pack(self.client, planned, stack)
            planned.check()
            on_plan(planned)
            self._take([each.service for each in planned.services])
            shipped = ship.ship(self.client, planned, bundles, report, timeout_s=None)
        wait_live.settle(self.client, shipped.releases, report, timeout_s=None)
        ship.check(shipped)
        return shipped.releases

    def drop_others(self, services: Sequence[str]) -> None:
        """Remove the services that are no longer among these, for example after a rename."""
        for service in [each for each in self.names if each not in services]:
            self._undeploy(service)
            self.names.remove(service)

    def close(self) -> None:
        """Begin no further release, and stop those that are starting."""
        self._is_closed = True
        for service in list(self.names):
            self._undeploy(service)

    def remove(self, *, is_all: bool = True) -> None:
        """Remove the services, with what runs of them.

        Unless that `is_all`, the guard removes what comes up later.
        """
        for service in self.names:
            self._undeploy(service)
        self.names.clear()
        if is_all and self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.write(f"{guard.DONE}\n")
                self._guard.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(_GUARD_S)
        for lock in self._locks.values():
            lock.close()

    def _undeploy(self, service: str) -> None:
        with contextlib.suppress(NotFoundError):
            self.client.undeploy(service, running="cancel", grace_s=0)

    def _take(self, services: Sequence[str]) -> None:
        """Make services this command's: no other one has them, and the guard removes them."""
        if self._is_closed:
            raise Interrupted("the command has ended")
        for service in services:
            if service in self._locks:
                continue
            self._locks[service] = _lock(service)
        new = [each for each in services if each not in self.names]
        if not new:
            return
        if self._guard is None:
            self._guard = self._start_guard()
        assert self._guard.stdin is not None
        for service in new:
            self.names.append(service)
            self._guard.stdin.write(f"{service}\n")
        self._guard.stdin.flush()

    def _start_guard(self) -> "subprocess.Popen[str]":
        chosen = connection.choice()
        # By name, because the current context may change. Variables stay as they are.
        name = None if chosen.by == "KOCO_URL" else chosen.name
        return subprocess.Popen(
            [sys.executable, "-m", guard.__name__, *([name] if name else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # It holds the locks as well, until it has removed what a killed command left.
            pass_fds=[lock.fileno() for lock in self._locks.values()],
            start_new_session=True,
            text=True,
        )


def owner(client: "Client") -> str:
    """Return the person's name in the names of services.

    An admin's key may be shared by several people, so theirs is the name on this machine.
    """
    me = client.me()
    if "admin" in me["scopes"]:
        with contextlib.suppress(KeyError, OSError):  # of a user without a name
            return owner_name(getpass.getuser()) or owner_name(me["name"])
    return owner_name(me["name"])


def _lock(service: str) -> TextIO:
    """Lock a service against other commands on this machine.

    Raises:
        ConflictError: another command has it.
    """
    folder = context_file.home() / "own"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file: TextIO = (folder / f"{service}.lock").open("w")
    deadline = time.monotonic() + _TAKEN_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise ConflictError(
                    f"another `koco dev` works on {service}",
                    hint="end that one first, or change what it deploys",
                ) from None
            time.sleep(0.1)
        else:
            return file
