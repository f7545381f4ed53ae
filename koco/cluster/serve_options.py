"""Check Serve's options for a deployment against the schema of the installed Ray.

Ray's schema ignores unknown keys, and the contents of some of its mappings. Here a misspelt key is
a problem.
"""

import types
import typing
from typing import Any

from koco.manifest.problems import KeyPath, Problem, unknown_key

#: The options that a manifest cannot set; for each, a message and a hint.
_OURS: dict[KeyPath, tuple[str, str]] = {
    ("name",): ("cannot be set", "koco finds the app's deployment by itself"),
    ("ray_actor_options", "runtime_env"): (
        "cannot be set: a replica has its release's environment",
        "use `runtime`",
    ),
    **dict.fromkeys(
        (("rolling_update_percentage",), ("max_surge_percent",)),
        (
            "has no effect: nothing is updated in place",
            "each release is a separate application, beside the former one until it serves",
        ),
    ),
}

#: Options that name code. Serve's schema imports it, but the author's code must not run here.
_CODE = ("request_router_config", "deployment_actors", "policy")


def problems_of(serve: dict[str, Any]) -> list[Problem]:
    """Return the problems of a manifest's `serve`. Blocks, because it imports Serve."""
    from ray.serve.schema import DeploymentSchema

    known = _without_code({k: v for k, v in serve.items() if k in DeploymentSchema.model_fields})
    found = [*_unknown(serve, DeploymentSchema, ()), *_invalid(known, DeploymentSchema)]
    return [_below_serve(each) for each in found or _refused_by_serve(known)]


def _without_code(value: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_code(inner) if isinstance(inner, dict) else inner
        for key, inner in value.items()
        if key not in _CODE
    }


def _below_serve(problem: Problem) -> Problem:
    return Problem(("serve", *problem.path), problem.message, problem.hint, problem.on_key)


def _unknown(value: dict[str, Any], model: Any, path: KeyPath) -> list[Problem]:
    """Return the problems of keys: unknown keys, and keys that koco sets itself."""
    known = [name for name in model.model_fields if (*path, name) not in _OURS]
    found: list[Problem] = []
    for key, inner in value.items():
        here = (*path, key)
        if here in _OURS:
            found.append(Problem(here, *_OURS[here], on_key=True))
        elif key not in model.model_fields:
            found.append(unknown_key(here, known))
        elif isinstance(inner, dict) and (below := _model_in(model.model_fields[key].annotation)):
            found += _unknown(inner, below, here)
    return found


def _invalid(serve: dict[str, Any], model: Any) -> list[Problem]:
    """Return the problems of values, including those in mappings that the schema does not check."""
    from pydantic import ValidationError

    found: dict[KeyPath, Problem] = {}
    parts: list[tuple[KeyPath, Any, Any]] = [((), {**serve, "name": "it"}, model)]
    for key, inner in serve.items():
        below = _model_in(model.model_fields[key].annotation)
        if below and isinstance(inner, dict):
            parts.append(((key,), inner, below))
    for path, value, schema in parts:
        try:
            schema.model_validate(value)
        except ValidationError as exc:
            for error in exc.errors(include_url=False, include_context=False):
                problem = _problem_of((*path, *_existing_path(error["loc"], value)), error)
                found.setdefault(problem.path, problem)
    return list(found.values())


def _existing_path(loc: tuple[str | int, ...], value: Any) -> KeyPath:
    """Return the part of an error's location that exists in `value`.

    pydantic also puts names of types into the location.
    """
    path: list[str | int] = []
    for part in loc:
        if not isinstance(value, dict | list):
            break
        try:
            value = value[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return tuple(path)


def _problem_of(path: KeyPath, error: Any) -> Problem:
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    is_ours = error["type"] != "value_error"
    return Problem(path, f"must be {message}, got {error['input']!r}" if is_ours else message)


def _refused_by_serve(serve: dict[str, Any]) -> list[Problem]:
    """Return the problem if Serve rejects the combination of options on a real deployment."""
    from ray._common import ray_option_utils
    from ray.serve import deployment

    from koco.sdk.endpoint.serving import apply_options

    class Nothing:
        """An empty deployment."""

    try:
        made = apply_options(deployment(Nothing), serve)
        ray_option_utils.validate_actor_options(made.ray_actor_options, in_options=True)
    except Exception as exc:  # noqa: BLE001 - any exception is Serve's answer
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        message = lines[-1] if lines else type(exc).__name__
        return [Problem((), f"Ray Serve refuses these options: {message}")]
    return []


def _model_in(annotation: Any) -> Any:
    """Return the pydantic model that a field may hold, or None if it holds none."""
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for each in typing.get_args(annotation):
            if found := _model_in(each):
                return found
    return None
