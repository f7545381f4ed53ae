"""`response` makes bodies of lines, from several arguments or from a list."""

from kodosumi import dtypes, response
from kodosumi.core import Tracer


async def run(inputs: dict, tracer: Tracer):
    await tracer.result(response.Text("a", "b"), response.HTML(["<p>", "</p>"]))
    body = response.Markdown(["# Title", "", "text"])
    assert isinstance(body, dtypes.Markdown)
    return body
