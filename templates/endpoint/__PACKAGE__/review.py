"""The flow that the endpoint launches."""

from koco import Tracer, response

#: How many words a document may have.
LONGEST = 500

#: How long the reviewer may take (seconds): a week.
PATIENCE_S = 7 * 24 * 3600


async def review(tracer: Tracer, title: str, text: str, author: str) -> response.Markdown:
    """Have a text approved; publish it, or say why not."""
    await tracer.debug("handed in by", author)
    decided = await tracer.lock("approval", {"title": title, "text": text}, PATIENCE_S)
    if not decided["published"]:
        return response.Markdown(f"*{title}* was rejected: {decided['why']}")
    return response.Markdown(f"# {title}\n\n{text}\n\n*{author}*")
