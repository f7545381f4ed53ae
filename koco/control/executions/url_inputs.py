"""File inputs that are given by URL: fetched, and from then on like uploads."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from koco.client.url import redact
from koco.control.access.asker import Asker
from koco.control.executions.files import MARK
from koco.control.settings import Settings
from koco.control.storage.downloads import Download, Downloads
from koco.control.storage.web_urls import DownloadError, is_url
from koco.errors import InputsError, LimitError
from koco.forms import InputFiles, Model
from koco.sizes import MB
from koco.store.model import FileLimits

#: The most URLs in one launch.
MOST = 20
#: The time limit for all files of a launch, and for the others once one has failed (seconds).
_MOST_S, _LEFT_S = 300.0, 2.0


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
        asker: Asker | None = None,
    ) -> dict[str, Any]:
        """Return inputs in which the URLs of file fields are replaced by marks of uploads.

        `limits` returns the limits on the execution's files. It is called if there are URLs. The
        downloads end with the asker's client, key or session.

        Raises:
            InputsError: a URL cannot be fetched, there are too many, or the setting forbids it.
                The error names each such field.
            TooManyError: the user has too many unfinished uploads, or too many such launches wait.
            KocoError: there is no room, or the asker has gone.
        """
        if not (found := _urls(form, inputs)):
            return inputs
        self._require_allowed(found)
        most_bytes = min(self._settings.max_file_mb, (await limits()).max_size_mb) * MB
        urls = list(dict.fromkeys(url for urls in found.values() for url in urls))
        with asker.waiting() if asker is not None else nullcontext():
            answers = await self._fetch_all(urls, user, most_bytes, asker)
        errors: dict[str, str | list[str]] = {}
        for name, asked in found.items():
            failed = [(url, why) for url in asked if isinstance(why := answers.get(url), str)]
            if failed:
                errors[name] = [f"{_short(url)} cannot be fetched: {why}" for url, why in failed]
        if errors:
            raise InputsError(**errors)
        return {
            name: _marked(value, answers) if name in found else value
            for name, value in inputs.items()
        }

    def require_allowed(self, form: Model, inputs: dict[str, Any]) -> None:
        """Refuse URLs in file fields if the setting does, or if there are too many.

        Raises:
            InputsError: see `fetch`.
        """
        if found := _urls(form, inputs):
            self._require_allowed(found)

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

    async def _fetch_all(
        self, urls: list[str], user: str, most_bytes: float, asker: Asker | None
    ) -> dict[str, Download | str]:
        """Return the fetched files, or the reason why one cannot be fetched, by URL.

        All have one time limit, which includes the wait for their turns. If one fails, the others
        have a moment left.
        """
        slow = f"the files of this launch take more than {_MOST_S:g} s in all"
        answers: dict[str, Download | str] = {}
        by, holder = (asker.caller.owner, asker.caller.holder) if asker else (user, user)

        async def fetch(url: str) -> None:
            try:
                answers[url] = await self._downloads.fetch(
                    url, user=user, most_bytes=most_bytes, by=by, holder=holder
                )
            except (DownloadError, LimitError) as exc:
                answers[url] = exc.message
                now = asyncio.get_running_loop().time()
                patience.reschedule(min(patience.when() or now, now + _LEFT_S))

        try:
            async with asyncio.timeout(_MOST_S) as patience:
                async with asyncio.TaskGroup() as group:
                    for url in urls:
                        group.create_task(fetch(url))
        except TimeoutError:
            if not any(isinstance(each, str) for each in answers.values()):
                return answers | {url: slow for url in urls if url not in answers}
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return answers


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
    """Return a URL for a message: short, and without what may be a secret."""
    shown = "".join(each if each.isprintable() else "?" for each in url)
    return redact(shown.partition("#")[0])[:200]
