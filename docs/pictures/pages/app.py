"""What the pictures of the README show at work."""

import asyncio

from koco import Tracer, response, step

SOURCES = {"tides": 1.1, "moon": 0.7, "harbours": 1.4, "storms": 0.9}


@step
async def fetch(source: str, seconds: float) -> str:
    """Return what a source has to say."""
    await asyncio.sleep(seconds)
    return f"All about {source}."


async def report(tracer: Tracer, topic: str = "The sea") -> response.Markdown:
    """Gather texts, and publish them once a person agrees."""
    texts = []
    for done, (source, seconds) in enumerate(SOURCES.items(), 1):
        print(f"reading {source}")
        texts.append(await fetch(source, seconds))
        await tracer.progress(done, len(SOURCES))
    decided = await tracer.lock("approval", data={"title": topic, "words": 1_204})
    if not decided["ok"]:
        return response.Markdown(f"*{topic}* was rejected: {decided['why']}")
    return response.Markdown(f"# {topic}\n\n" + " ".join(texts))


async def crawl(tracer: Tracer, site: str, pages: int) -> int:
    """Visit the pages of a site, one after the other."""
    for page in range(1, pages + 1):
        print(f"GET https://{site}/page/{page}")
        await asyncio.sleep(0.4)
        await tracer.progress(page, pages)
        if page == 13:
            raise ConnectionError(f"{site} does not answer")
    return pages
