"""Kodosumi's public names: what a service imports from `kodosumi.core`.

Each is loaded when it is first used, so a Ray task that only needs the tracer loads no web
framework.
"""

import importlib
from typing import Any

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


__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table has all of them


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    found = importlib.import_module(f"koco.kodosumi.{module}")
    globals()[name] = getattr(found, attribute) if attribute else found
    return globals()[name]
