"""The few of Kodosumi's settings that a service may read. koco's own are in its control plane."""

import os
from typing import Any

#: The names of settings with their defaults: seconds, bytes, and addresses.
_DEFAULTS: dict[str, float | int | str] = {
    "LOCK_EXPIRES": 10800.0,
    "PROXY_TIMEOUT": 30,
    "CHUNK_SIZE": 5 * 1024 * 1024,
    "SAVE_CHUNK_SIZE": 1024 * 1024,
    "APP_SERVER": "http://localhost:3370",
    "RAY_SERVER": "auto",
}


class Settings:
    """Settings from the environment's `KODO_…`, or their defaults. None of them changes koco."""

    def __init__(self, **values: Any) -> None:
        """Take the given values in place of the environment's."""
        for name, default in _DEFAULTS.items():
            text = os.environ.get(f"KODO_{name}")
            found = default if text is None else type(default)(text)
            setattr(self, name, values.get(name, found))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"koco has no setting {name!r} of Kodosumi for services")


class InternalSettings(Settings):
    """The same: Kodosumi tells its own processes' settings from others'."""
