"""Upgrades in place by `koco up`: find the running control plane, compare it, replace it.

`koco.control.handover` describes how one control plane takes over from another.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import ray

from koco import __version__, versions
from koco.control.start import Start
from koco.errors import ConflictError, KocoError, UnreachableError
from koco.sdk.process import control_client
from koco.store.version import require_known

#: How long a control plane may take to identify itself (seconds), as its process may restart.
_IDENTITY_S = 30.0
#: Pause before asking it again (seconds).
_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The control plane that is in charge now."""

    generation: int
    handle: Any
    version: str
    code: str
    start: Start
    #: The version of its store's schema.
    store: int


def running(*, ready_s: float) -> Running | None:
    """Return the control plane in charge, or None. Waits until no other is about to take over.

    Raises:
        UnreachableError: it does not answer.
        ConflictError: it is of a koco that cannot be upgraded in place.
    """
    while found := control_client.find_planes():
        newest = max(found)
        if len(found) > 1:
            _settle(found[newest], ready_s)
        elif (identity := _identity(found[newest])) is not None:
            return Running(
                generation=newest,
                handle=found[newest],
                version=identity["version"],
                code=identity["code"],
                start=msgspec.convert(identity["start"], Start),
                store=identity["store"],
            )
    return None


def is_asked(there: Running, start: Start) -> bool:
    """Return whether the running control plane is this koco, started with these options."""
    same = msgspec.structs.replace(there.start, code=start.code) == start
    return same and there.version == __version__ and there.code == versions.code_digest()


def replace(there: Running, make: Callable[[int], Any], *, ready_s: float) -> Any:
    """Replace the control plane by a new one. Return the new actor.

    `make` gets the new generation's number and starts its actor.

    Raises:
        ConflictError: this koco must not replace it. It was not changed.
        KocoError: the new one did not come up. The old one continues.
    """
    if versions.is_newer(there.version, __version__):
        raise ConflictError(
            f"the control plane is koco {there.version}, newer than this one, {__version__}",
            hint="upgrade koco here; an older koco cannot replace a newer one",
        )
    require_known(there.store)
    new = make(there.generation + 1)
    try:
        ray.get(new.ready.remote(), timeout=ready_s)
    except Exception as exc:
        ray.kill(new, no_restart=True)
        # The new one may have died, or hang, without telling the old one to resume.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(there.handle.resume.remote(), timeout=_IDENTITY_S)
        raise _failed(exc, there) from exc
    return new


def refuse_elsewhere(there: Running, start: Start) -> None:
    """Refuse to move the store, because the running control plane would lose access to it.

    Raises:
        ConflictError: `start` has another data directory, another store, or other blobs.
    """
    if start.data_dir != there.start.data_dir:
        raise ConflictError(
            f"the control plane keeps its data in {there.start.data_dir}",
            hint=f"run `koco down`, move it to {start.data_dir}, then `koco up` with `--data-dir`",
        )
    if start.store != there.start.store:
        raise ConflictError(
            f"the control plane has its store in {there.start.store or there.start.data_dir}",
            hint="`koco down`, then `koco store copy`, then `koco up` with `--store`",
        )
    if start.blobs != there.start.blobs:
        raise ConflictError(
            "the control plane keeps its blobs in"
            f" {there.start.blobs or there.start.data_dir + '/blobs'}",
            hint="run `koco down`, then `koco blobs copy` takes them to the other place, then"
            " `koco up` with `--blobs`",
        )


def _settle(newest: Any, ready_s: float) -> None:
    """Wait for an upgrade in progress. Remove the new control plane of one that failed."""
    try:
        identity = _identity(newest)
        if identity is None:
            return
        if identity["state"] == "starting":
            ray.get(newest.ready.remote(), timeout=ready_s)
        if identity["state"] != "failed":
            time.sleep(_AGAIN_S)  # it is about to end the old one
            return
    except Exception:  # noqa: BLE001, S110 - its own `koco up` reports the error
        pass
    ray.kill(newest, no_restart=True)


def _identity(handle: Any) -> dict[str, Any] | None:
    """Return a control plane's report about itself, or None if it is gone."""
    if not hasattr(handle, "identity"):
        raise ConflictError(
            "the control plane's koco is too old to be upgraded in place",
            hint="run `koco down` and `koco up` again; the store stays",
        )
    deadline = time.monotonic() + _IDENTITY_S
    while True:
        try:
            identity: dict[str, Any] = ray.get(handle.identity.remote(), timeout=_IDENTITY_S)
            return identity
        except ray.exceptions.ActorDiedError:
            return None
        except (ray.exceptions.ActorUnavailableError, ray.exceptions.GetTimeoutError) as exc:
            if time.monotonic() > deadline:
                raise UnreachableError(f"the control plane does not answer: {exc}") from exc
            time.sleep(_AGAIN_S)


def _failed(exc: Exception, there: Running) -> KocoError:
    cause = getattr(exc, "cause", None) or exc
    goes_on = f"koco {there.version} continues"
    if isinstance(cause, KocoError):
        text, hint = cause.message, cause.hint
        kind = type(cause) if isinstance(cause, ConflictError) else KocoError
        return kind(f"the upgrade failed, {goes_on}: {text}", hint=hint)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [""]
    said = f"{type(cause).__name__}: {lines[0]}"
    if isinstance(cause, ray.exceptions.RayError):
        # An error ended its process, and the last error line gives the reason.
        said = next((line for line in reversed(lines) if "Error: " in line), said)
    return KocoError(
        f"the upgrade failed, {goes_on}: {said}",
        hint=f"{there.start.data_dir}/control.log has the details",
    )
