"""Decide whether `koco up` joins a Ray that runs on this machine, or starts a separate one.

It joins a Ray that RAY_ADDRESS names, or one that the user has started by hand and that answers.
Any other Ray belongs to somebody else or to another koco home, and is left alone.
"""

from collections.abc import Mapping
from typing import Any

from koco.bootstrap import local_head as cluster
from koco.bootstrap import running_heads
from koco.cli.cluster import driver_process
from koco.cli.terminal import output
from koco.client.url import redact
from koco.errors import NotAllowedError, UnreachableError, UsageError


def joinable(here: Mapping[str, Any], *, free: bool) -> str:
    """Return the address of a Ray to join, started by somebody else; empty if a new one is needed.

    Raises:
        UnreachableError: RAY_ADDRESS names one that does not answer.
        NotAllowedError: it names another user's Ray.
        UsageError: it names one, and free ports are requested.
    """
    if asked := running_heads.requested_address():
        if free:
            what = (
                f"RAY_ADDRESS names a Ray to join, {asked}, but --free-ports starts a separate one"
            )
            raise UsageError(what, hint="leave out --free-ports, or unset RAY_ADDRESS")
        if not running_heads.listens(asked):
            what = f"no Ray answers at {asked}, which RAY_ADDRESS names"
            raise UnreachableError(what, hint="without RAY_ADDRESS, `koco up` starts one here")
        head = running_heads.at(asked)
        if head and not head.lets_in:
            what = f"the Ray at {asked} belongs to another user: you cannot use its sockets"
            raise NotAllowedError(what, hint="use `koco up --ray URL` with its dashboard's URL")
        return asked
    if (name := running_heads.ray_address()) not in ("", "auto", "local"):
        output.note(
            f"note: RAY_ADDRESS is {redact(name)}, which is not a Ray to join here: it is ignored"
            " (`koco up --ray URL` takes a dashboard's URL, and RAY_ADDRESS a head's host:port)"
        )
    for address in dict.fromkeys((str(here.get("address", "")), running_heads.current())):
        if not running_heads.listens(address):
            continue
        head = running_heads.at(address)
        if free:
            why = "--free-ports requests another one"
        elif address == here.get("asked"):
            return address
        elif head is None or not head.is_own:
            why = f"it is {head.whose}" if head else "it is not this machine's"
        elif not (why := _why_not(address)):
            return address
        _report_other(address, why)
        return ""
    # Ray's own file names a Ray only if both share RAY_TMPDIR. Otherwise it is not one to join.
    usual = f"127.0.0.1:{cluster.PORTS['gcs']}"
    if (head := running_heads.at(usual)) and not head.is_own:
        _report_other(usual, f"it is {head.whose}")
    return ""


def _report_other(address: str, why: str) -> None:
    output.note(f"a Ray is running at {address}, but {why}: starting a separate one")


def _why_not(address: str) -> str:
    """Return why a Ray of this user cannot be joined; empty if it can."""
    return str(driver_process.carry_out(driver_process.order("look", {}, address))["why"])


def was_joined(address: str, here: Mapping[str, Any]) -> bool:
    """Return whether the Ray at an address may be one that this context has joined.

    Another head is not, nor is another program that has taken the port of a head that is gone.
    """
    if address == here.get("asked"):  # it may run elsewhere, so its processes tell nothing
        return True
    head = running_heads.at(address)
    return head is not None and head.is_own
