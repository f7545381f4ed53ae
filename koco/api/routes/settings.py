"""The control plane's settings, for admins."""

from typing import Annotated, Any

import msgspec
from litestar import get, patch
from msgspec import Meta, Struct

from koco.api.http import audit, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi.shapes import Shape, text
from koco.control import settings
from koco.control.container import Parts
from koco.errors import UsageError
from koco.store.model import Page

_Name = Annotated[str, text("max_running")]
_Value = Annotated[Any, Meta(examples=[50], description="a number, a boolean or a list of texts")]


class Setting(Shape):
    """A setting: its value, and the default that counts while it is not set."""

    name: _Name
    value: _Value
    default: _Value
    is_set: bool


class ChangedSetting(Setting):
    """A setting that was set or unset, and its value before. It has taken effect."""

    before: _Value


class SettingsChange(Struct, forbid_unknown_fields=True):
    """New values by name. Null unsets one, so that its default counts."""

    values: dict[str, Any]


@get("/v1/settings", guards=[requires("admin")])
async def list_settings(
    request: Request, limit: int = 1000, cursor: str | None = None
) -> Page[Setting]:
    """List all settings, in the order of the documentation."""
    stored = await request.parts.store.settings.all()
    values = _values(request.parts)
    order = {name: f"{number:04d}" for number, name in enumerate(values)}
    found = [_setting(name, values, stored) for name in values]
    return list_query.page(found, by=lambda each: order[each.name], limit=limit, cursor=cursor)


@patch("/v1/settings", guards=[requires("admin")])
async def change_settings(request: Request, data: SettingsChange) -> Page[ChangedSetting]:
    """Set or unset settings: all of them, or none if one is refused. They take effect at once."""
    if not data.values:
        raise UsageError("no setting is given", hint='such as {"values": {"max_running": 50}}')
    parts = request.parts
    unset = [name for name, value in data.values.items() if value is None]
    for name in data.values:
        settings.require_known(name)
    new = settings.check({name: each for name, each in data.values.items() if each is not None})
    before, usual = _values(parts), settings.defaults()
    await parts.store.settings.change(new, unset=unset)
    parts.settings.change(new | {name: usual[name] for name in unset})
    parts.supervisor.pump()  # a raised limit may let executions begin
    after, stored = _values(parts), await parts.store.settings.all()
    told = {name: {"before": before[name], "after": after[name]} for name in data.values}
    audit.add(request, target=" ".join(data.values), changed=told)
    changed = [
        ChangedSetting.of(_setting(name, after, stored), before=before[name])
        for name in data.values
    ]
    return Page(changed, None)


def _values(parts: Parts) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(parts.settings)
    return values


def _setting(name: str, values: dict[str, Any], stored: dict[str, Any]) -> Setting:
    return Setting(name, values[name], settings.defaults()[name], name in stored)


ROUTES = (list_settings, change_settings)
