"""koco: deploy agentic flows to Ray from the command line, run them, follow them.

This module exports the names that authors of flows import, and programs that call flows. Each is
loaded when it is first used (PEP 562), because the command line imports this package as well and
must not pay for them.
"""

#: As `typing` has it, whose import takes as long as all of `koco --version` otherwise.
TYPE_CHECKING = False

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "FlowError",
    "InputsError",
    "Launch",
    "NonDeterministic",
    "ServeAPI",
    "StepResultError",
    "Tracer",
    "__version__",
    "forms",
    "remote",
    "response",
    "step",
    "testing",
]

if TYPE_CHECKING:
    from typing import Any

    import koco.testing as testing
    from koco import forms, response
    from koco.errors import FlowError, InputsError, StepResultError
    from koco.python_client.asynchronous import AsyncClient
    from koco.python_client.client import Client
    from koco.sdk.endpoint.launch import Launch
    from koco.sdk.endpoint.serve_api import ServeAPI
    from koco.sdk.ray_work.tasks import remote
    from koco.sdk.steps.decorator import step
    from koco.sdk.steps.divergence import NonDeterministic
    from koco.sdk.tracer import Tracer

_HOMES = {
    "AsyncClient": "koco.python_client.asynchronous",
    "Client": "koco.python_client.client",
    "FlowError": "koco.errors",
    "InputsError": "koco.errors",
    "Launch": "koco.sdk.endpoint.launch",
    "NonDeterministic": "koco.sdk.steps.divergence",
    "ServeAPI": "koco.sdk.endpoint.serve_api",
    "StepResultError": "koco.errors",
    "Tracer": "koco.sdk.tracer",
    "remote": "koco.sdk.ray_work.tasks",
    "step": "koco.sdk.steps.decorator",
}


def __getattr__(name: str) -> "Any":
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"koco.{name}")
    raise AttributeError(f"module 'koco' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
