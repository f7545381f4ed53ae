"""File inputs that are given by URL: fetched, and from then on like uploads."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from koco.control.executions.files import MARK
from koco.control.settings import Settings
from koco.control.storage.downloads import Download, DownloadError, Downloads, is_url
from koco.errors import InputsError, LimitError
from koco.forms import InputFiles, Model
from koco.sizes import MB
from koco.store.model import FileLimits

#: The most URLs in one launch.
MOST = 20


class UrlInputs:
    """Fetches the URLs in launches' file fields, if the setting `url_inputs` allows it."""

    def __init__(self, downloads: Downloads, settings: Settings) -> None:
        self._downloads = downloads
        self._settings = settings

    async def fetch(
        self,
        form: Model,
        inputs: dict[str, Any],
        *,
        user: str,
        limits: Callable[[], Awaitable[FileLimits]],
    ) -> dict[str, Any]:
        """Return inputs in which the URLs of file fields are replaced by marks of uploads.

        `limits` returns the limits on the execution's files. It is called if there are URLs.

        Raises:
            InputsError: a URL cannot be fetched, there are too many, or the setting forbids it.
                The error names each such field.
            KocoError: there is no room, or the user has too many unfinished uploads.
        """
        if not (found := _urls(form, inputs)):
            return inputs
        self._require_allowed(found)
        most_bytes = min(self._settings.max_file_mb, (await limits()).max_size_mb) * MB
        urls = list(dict.fromkeys(url for urls in found.values() for url in urls))
        fetched = await asyncio.gather(*(self._try(url, user, most_bytes) for url in urls))
        answers = dict(zip(urls, fetched, strict=True))
        errors: dict[str, str | list[str]] = {}
        for name, asked in found.items():
            failed = [(url, why) for url in asked if isinstance(why := answers[url], str)]
            if failed:
                errors[name] = [f"{_short(url)} cannot be fetched: {why}" for url, why in failed]
        if errors:
            raise InputsError(**errors)
        return {
            name: _marked(value, answers) if name in found else value
            for name, value in inputs.items()
        }

    def _require_allowed(self, found: dict[str, list[str]]) -> None:
        if not self._settings.url_inputs:
            message = (
                "this control plane fetches no URLs: upload the file; an admin can change that:"
                " `koco up --set url_inputs=true`"
            )
            raise InputsError(**dict.fromkeys(found, message))
        if (count := sum(map(len, found.values()))) > MOST:
            message = f"at most {MOST} files of a launch are given by URL, got {count}"
            raise InputsError(**dict.fromkeys(found, message))

    async def _try(self, url: str, user: str, most_bytes: float) -> Download | str:
        """Return a fetched file, or the reason why it cannot be fetched."""
        try:
            return await self._downloads.fetch(url, user=user, most_bytes=most_bytes)
        except (DownloadError, LimitError) as exc:
            return exc.message


def _urls(form: Model, inputs: dict[str, Any]) -> dict[str, list[str]]:
    """Return the URLs in file fields, by the field's name. Fields without URLs are left out."""
    found = {}
    for field in form.fields:
        if isinstance(field, InputFiles) and field.name in inputs:
            value = inputs[field.name]
            urls = [
                each for each in (value if isinstance(value, list) else [value]) if is_url(each)
            ]
            if urls:
                found[field.name] = urls
    return found


def _marked(value: Any, answers: dict[str, Download | str]) -> Any:
    """Return a file field's value with marks of uploads in place of URLs."""
    if isinstance(value, list):
        return [_marked(each, answers) for each in value]
    if not is_url(value) or not isinstance(found := answers[value], Download):
        return value
    return {MARK: {"name": found.name, "sha256": found.sha256}}


def _short(url: str) -> str:
    """Return a URL for a message: without its query, which may hold a signature, and not long."""
    return url.partition("?")[0][:200]
