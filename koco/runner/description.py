"""Import the entrypoints of a release, and describe what they are or why that fails."""

import asyncio
import time

import msgspec

from koco.errors import KocoError
from koco.manifest.descriptions import AppDescription
from koco.runner.flows import Flows
from koco.runner.spec import Description, ImportFailure, RunnerSpec
from koco.sdk.process import tracebacks


async def describe(spec: RunnerSpec, flows: Flows) -> Description:
    """Import every entrypoint of a release; return its forms, or the problems."""
    began = time.monotonic()
    found = Description(forms={}, problems=[])
    for flow in spec.flows:
        try:
            # In a thread: a slow import must not keep the runner from answering.
            form = await asyncio.to_thread(flows.load, flow.name)
        except BaseException as exc:  # noqa: BLE001 - a user's module may raise anything
            found.problems.append(_failure(exc, flow.entrypoint, flow=flow.name))
        else:
            found.forms[flow.name] = form.to_list() if form else None
    if spec.app is not None:
        try:
            app = await asyncio.to_thread(_describe_endpoint, spec.app, spec)
            found = msgspec.structs.replace(found, app=app)
        except BaseException as exc:  # noqa: BLE001 - as above
            found.problems.append(_failure(exc, spec.app))
    return msgspec.structs.replace(found, took_s=time.monotonic() - began)


def _describe_endpoint(path: str, spec: RunnerSpec) -> AppDescription:
    # Imports the author's module, and FastAPI with it: only if the service has an endpoint.
    from koco.sdk.endpoint import serving

    named = {flow.name for flow in spec.flows}
    return serving.describe(path, spec.service, public=spec.public, named=named)


def _failure(exc: BaseException, entrypoint: str, *, flow: str | None = None) -> ImportFailure:
    if isinstance(exc, KocoError):
        return ImportFailure(flow=flow, entrypoint=entrypoint, message=exc.message, hint=exc.hint)
    return ImportFailure(flow=flow, entrypoint=entrypoint, **tracebacks.describe(exc))
