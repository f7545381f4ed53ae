"""OpenTelemetry's variables in the environment of `koco up`, which the control plane gets.

It needs them from there: a Ray that runs already was started with an environment of its own.
"""

import hashlib
import json
import os
from collections.abc import Mapping

_PREFIX = "OTEL_"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTER, DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"


def asked(environment: Mapping[str, str]) -> dict[str, str]:
    """Return OpenTelemetry's variables if they say whether traces are exported; else nothing."""
    if not any(environment.get(name, "").strip() for name in (*ENDPOINTS, EXPORTER, DISABLED)):
        return {}
    return {name: value for name, value in environment.items() if name.startswith(_PREFIX)}


def digest(variables: Mapping[str, str]) -> str:
    """Return a text by which variables are compared: they may have a collector's key."""
    if not variables:
        return ""
    return hashlib.sha256(json.dumps(variables, sort_keys=True).encode()).hexdigest()


def use(variables: Mapping[str, str]) -> None:
    """Have this process use these variables instead of those that its Ray was started with."""
    if not variables:
        return
    for name in [each for each in os.environ if each.startswith(_PREFIX)]:
        del os.environ[name]
    os.environ.update(variables)
