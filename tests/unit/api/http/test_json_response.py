"""Answers in JSON without headers of their own."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Response
from litestar.datastructures import Cookie
from litestar.enums import MediaType

from koco.api.http.json_response import JsonResponse


class Shape(msgspec.Struct):
    """A struct as routes return them."""

    name: str
    at: dt.datetime
    where: Path


CONTENTS: list[Any] = [
    Shape("ä", dt.datetime(2026, 1, 31, tzinfo=dt.UTC), Path("/x")),
    [1, {"a": None}],
    "text",
    b"[1]",
    None,
]


def sent(kind: type[Response[Any]], content: Any, **more: Any) -> list[Any]:
    """Return the messages that a response sends."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    given = {"media_type": MediaType.JSON, "status_code": 202, **more}
    request: Any = None
    answer: Any = kind(content, **given).to_asgi_response(None, request, headers={}, cookies=())
    asyncio.run(answer({}, None, send))
    messages[0]["headers"] = sorted(messages[0]["headers"])
    return messages


@pytest.mark.parametrize("content", CONTENTS, ids=str)
def test_an_answer_is_the_same_as_litestars(content: Any) -> None:
    """Status, headers and body."""
    assert sent(JsonResponse, content) == sent(Response, content)


def test_headers_cookies_and_other_types_are_kept() -> None:
    """They are left to litestar."""
    for more in (
        {"headers": {"x-a": "1"}},
        {"cookies": [Cookie(key="a", value="1")]},
        {"media_type": MediaType.TEXT},
    ):
        assert sent(JsonResponse, "text", **more) == sent(Response, "text", **more)


def test_an_answer_without_content_has_no_body() -> None:
    """As 204 demands it."""
    assert sent(JsonResponse, None, status_code=204) == sent(Response, None, status_code=204)
