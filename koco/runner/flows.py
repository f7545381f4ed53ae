"""The flows of a runner: those of its manifest, and those that the service's endpoint orders."""

import asyncio
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from koco.events import datetimes
from koco.forms import Model
from koco.manifest.descriptions import KODOSUMI
from koco.runner.flow import Flow, failing, load_flow
from koco.runner.spec import FlowSpec, Launch
from koco.sdk.entrypoints import loader


class Flows:
    """Imports entrypoints, and finds the one that an execution calls."""

    def __init__(self, specs: Iterable[FlowSpec], *, dialect: str = "") -> None:
        """Take the flows of the manifest, and their dialect."""
        self._dialect = dialect
        self._specs = {spec.name: spec for spec in specs}
        self._flows: dict[str, Flow] = {}
        self._orders = Orders()

    def load(self, name: str) -> Model | None:
        """Import the entrypoint of a flow of the manifest; return its form.

        Raises the errors of `load_flow`.
        """
        spec = self._specs[name]
        if self._dialect == KODOSUMI:
            # Kodosumi makes no form of a signature: without elements, any object is accepted.
            _kodosumi().find(name, spec.entrypoint)
            return None if spec.inputs is None else Model.from_list(spec.inputs)
        flow = self._flows[name] = load_flow(name, spec.entrypoint, spec.inputs)
        return flow.form

    async def prepare(self, launch: Launch) -> tuple[Flow, Any]:
        """Return the flow and the inputs of an execution."""
        inputs = datetimes.restore(launch.inputs, launch.moments)
        if launch.dialect == KODOSUMI:
            # In a thread, as below: this runs the author's code.
            return await asyncio.to_thread(self._prepare_kodosumi, launch, inputs)
        if not launch.entrypoint:
            return self._flows[launch.flow], inputs
        # In a thread: its module may not have been imported here yet.
        ordered = launch.flow, launch.entrypoint
        return await asyncio.to_thread(self._orders.flow, *ordered), inputs

    def _prepare_kodosumi(self, launch: Launch, inputs: Any) -> tuple[Flow, Any]:
        if launch.pickled is not None:
            found: tuple[Flow, Any] = _kodosumi().unpickle(launch.flow, launch.pickled)
            return found
        path = launch.entrypoint or self._specs[launch.flow].entrypoint
        return _kodosumi().load(launch.flow, path), inputs


class Orders:
    """The flows that the service's own endpoint has launched so far, by name and path.

    The endpoint has already checked their inputs. May be used from several threads.
    """

    def __init__(self) -> None:
        self._flows: dict[tuple[str, str], Flow] = {}

    def flow(self, name: str, path: str) -> Flow:
        """Return a flow, which is imported only once.

        If the import raises, the returned flow raises that when it is called, because the
        execution exists by then. The next call tries the import again.
        """
        if known := self._flows.get((name, path)):
            return known
        try:
            function = loader.load(path)
        except BaseException as exc:  # noqa: BLE001 - a user's module may raise anything
            return failing(name, exc)
        flow = Flow(name, function, None, loader.is_async(function))
        return self._flows.setdefault((name, path), flow)


def enter(launch: Launch, *, is_alone: bool) -> None:
    """Prepare this process for an execution that begins."""
    # With neighbours in the process, its environment cannot name one of them.
    if launch.dialect == KODOSUMI and is_alone:
        _kodosumi().enter(launch.fid, launch.user)


async def leave(launch: Launch) -> None:
    """Remove an execution's remains in this process."""
    if launch.dialect == KODOSUMI:
        # In a thread: it may have downloaded much.
        await asyncio.to_thread(_kodosumi().leave, launch.fid)


def _kodosumi() -> ModuleType:
    # Imported here, because most releases were not written for Kodosumi.
    from koco.runner import kodosumi

    return kodosumi
