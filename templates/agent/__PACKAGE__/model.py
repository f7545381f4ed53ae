"""The model: an endpoint with OpenAI's chat completions, or the stand-in if none is configured."""

import os
from typing import Any

import httpx

from __PACKAGE__ import stand_in


async def complete(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the model's next message. Raises `RuntimeError`, which says what went wrong."""
    url = os.environ.get("OPENAI_BASE_URL")
    if not url:
        return stand_in.reply(messages)
    key = os.environ.get("OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    name = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
    request = {"model": name, "messages": messages, "tools": tools}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client:
            answer = await client.post("chat/completions", json=request)
    except httpx.HTTPError as exc:
        raise RuntimeError(f"{url} does not answer: {exc!r}") from exc
    if answer.is_error:
        raise RuntimeError(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
    try:
        return dict(answer.json()["choices"][0]["message"])
    except (ValueError, LookupError, TypeError) as exc:
        raise RuntimeError(f"{answer.url} sent no message: {answer.text[:500]}") from exc
