"""The smallest flow: a signature that makes the form, a line of output, a result.

koco deploy                     # at the root of the repository: all examples together
koco run greet -i who=Ada -f
"""

from koco import Tracer, response


async def greet(tracer: Tracer, who: str = "World", times: int = 1) -> response.Markdown:
    """Greet somebody, once or more often."""
    await tracer.debug("greeting", who)
    for _ in range(times):
        print(f"Hello, {who}!")  # what is printed is part of the event stream
    return response.Markdown(f"# Hello, {who}!")
