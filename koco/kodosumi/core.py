"""Kodosumi's public names, which a service imports from `kodosumi.core`.

Each is loaded when it is first used, so a Ray task that only needs the tracer loads no web
framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "InputsError",
    "KodosumiError",
    "Launch",
    "ServeAPI",
    "Templates",
    "Tracer",
    "TracerMock",
    "forms",
    "response",
]

if TYPE_CHECKING:
    from koco.kodosumi import forms, response
    from koco.kodosumi.error import InputsError, KodosumiError
    from koco.kodosumi.launch import Launch
    from koco.kodosumi.serve import ServeAPI, Templates
    from koco.kodosumi.tracer import Tracer
    from koco.kodosumi.tracer_mock import TracerMock

#: The module of each name; a module itself has no object.
_HOMES: dict[str, tuple[str, str]] = {
    "InputsError": ("error", "InputsError"),
    "KodosumiError": ("error", "KodosumiError"),
    "Launch": ("launch", "Launch"),
    "ServeAPI": ("serve", "ServeAPI"),
    "Templates": ("serve", "Templates"),
    "Tracer": ("tracer", "Tracer"),
    "TracerMock": ("tracer_mock", "TracerMock"),
    "forms": ("forms", ""),
    "response": ("response", ""),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    found = importlib.import_module(f"koco.kodosumi.{module}")
    globals()[name] = getattr(found, attribute) if attribute else found
    return globals()[name]
