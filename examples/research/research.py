"""An agent whose work outlives its process: it goes on after its last finished step.

koco deploy                                               # at the root of the repository
koco run research/report -i topic=Tides -i key="$OPENAI_API_KEY" -f     # offers to answer
koco run research/report -i topic=Tides -i base_url=http://127.0.0.1:11434/v1 -i model=qwen3
koco steps latest                                         # what is done already
koco answer latest -i ok=yes                              # the review, from elsewhere
koco ps --parent latest                                   # the publication, an execution too

It plans questions, asks a model all of them at once, writes a report, asks a person, waits, and
calls `examples/publisher`. Kill its process at any moment: only the questions that were not yet
answered are asked again, and the report is the same. It needs no process while it waits for the
person.

The endpoint is one with OpenAI's chat completions, as in `examples/agent`.
"""

import asyncio
import os
import re
from typing import Any

import httpx

from koco import Tracer, response, step

#: How long the person may take (seconds): a month.
PATIENCE_S = 30 * 24 * 3600


class Model:
    """A model behind an endpoint. Its key is in no step's arguments."""

    def __init__(self, base_url: str, name: str, key: str) -> None:
        self._base_url = base_url
        self._name = name
        self._key = key
        self._client = httpx.AsyncClient(timeout=120)

    async def __aenter__(self) -> "Model":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def __repr__(self) -> str:
        return f"Model({self._name!r})"

    async def complete(self, prompt: str) -> str:
        """Return the model's answer to a prompt."""
        # The environment is read here, inside a step: a flow's own code must not depend on it.
        base_url = self._base_url or os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
        name = self._name or os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
        key = self._key or os.environ.get("OPENAI_API_KEY", "")
        request = {"model": name, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{base_url.rstrip('/')}/chat/completions"
        answer = await self._client.post(url, json=request, headers=headers)
        if answer.is_error:
            raise RuntimeError(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
        return str(answer.json()["choices"][0]["message"]["content"])


@step(retries=3, backoff_s=1, timeout_s=180)
async def plan(model: Model, topic: str, count: int) -> list[str]:
    """Return the questions that a report on a topic has to answer."""
    text = await model.complete(f"List {count} questions about: {topic}. One a line, no others.")
    lines = (re.sub(r"^[\s\d.)*-]+", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line][:count]


@step(retries=3, backoff_s=1, timeout_s=180)
async def research(model: Model, question: str) -> str:
    """Return the answer to one question."""
    return await model.complete(f"Answer in one paragraph: {question}")


@step(retries=3, backoff_s=1, timeout_s=180)
async def summarise(model: Model, topic: str, answers: list[str]) -> str:
    """Return what all answers say together."""
    return await model.complete(f"Summarise, on {topic}:\n\n" + "\n\n".join(answers))


async def report(
    tracer: Tracer,
    topic: str,
    questions: int,
    embargo_s: float,
    base_url: str = "",
    model: str = "",
    key: str = "",
) -> response.Markdown:
    """Write a report on a topic, have it reviewed, and have it published."""
    # Closed before the flow waits for somebody: then nothing keeps it in its process.
    async with Model(base_url or "", model or "", key or "") as asked:
        planned = await plan(asked, topic, questions)
        await tracer.action({"planned": planned})
        answers = await asyncio.gather(*(research(asked, question) for question in planned))
        summary = await summarise(asked, topic, answers)
    text = write(summary, dict(zip(planned, answers, strict=True)))

    review = await tracer.lock("review", response.Markdown(text), PATIENCE_S)
    if not review["ok"]:
        return response.Markdown(f"*{topic}* was rejected: {review['why'] or 'no reason given'}")

    await tracer.sleep(embargo_s)
    published: dict[str, Any] = await tracer.call(
        "publisher/publish", {"title": topic, "text": text}
    )
    await tracer.action({"published": published["address"], "words": published["words"]})
    return response.Markdown(published["page"])


def write(summary: str, answers: dict[str, str]) -> str:
    """Return the report's text. It is no step: it gives the same text each time, at once."""
    parts = [f"## {question}\n\n{answer}" for question, answer in answers.items()]
    return "\n\n".join([summary, *parts])
