"""A document that two people review, one after the other, before it is published.

koco deploy                                     # at the root of the repository
koco run approval/review -i title=Hymn -i text='To the nihgt' -f    # offers to answer on the spot
koco inbox                                      # or from elsewhere: what waits for a person
koco answer FID edit -i text='To the night'     # an editor; the form is the manifest's
koco answer FID approval -i verdict=publish     # who decides; its form is made below
"""

import fastapi

from koco import InputsError, Launch, ServeAPI, Tracer, response
from koco import forms as F  # noqa: N812 - as in the documentation

#: How long each of the two may take (seconds): a week.
PATIENCE_S = 7 * 24 * 3600

app = ServeAPI()


@app.enter(
    "/review",
    model=F.Model(
        F.InputText(name="title", label="Title", required=True, max_length=80),
        F.InputArea(name="text", label="Text", required=True),
        F.Submit("Hand in"),
    ),
    summary="Have a document edited, then approved",
)
async def enter(request: fastapi.Request, inputs: dict) -> Launch:
    """Launch a review."""
    return Launch(request, review, inputs=inputs)


async def review(tracer: Tracer, title: str, text: str) -> response.Markdown:
    """Have a text corrected, then approved; publish it, or say why not."""
    edited = await tracer.lock("edit", {"title": title, "text": text}, PATIENCE_S)
    text = edited["text"] or text
    await tracer.debug("edited:", text)
    decided = await tracer.lock("approval", {"title": title, "text": text}, PATIENCE_S)
    if not decided["published"]:
        return response.Markdown(f"*{title}* was rejected: {decided['why']}")
    return response.Markdown(f"# {title}\n\n{text}")


@app.lock("approval")
async def approval(data: dict) -> F.Model:
    """Return what the second person sees, made from what the first one wrote."""
    return F.Model(
        F.Markdown(f"## {data['title']}\n\n{data['text']}"),
        F.Select(
            name="verdict",
            label=f"What becomes of {data['title']!r}?",
            option=[F.InputOption("publish", "publish it"), F.InputOption("reject", "reject it")],
            required=True,
        ),
        F.InputText(name="why", label="Why not"),
        F.Submit("Decide"),
    )


@app.lease("approval")
async def decide(inputs: dict) -> dict:
    """Return what the flow gets; the lock stays open where a reason is missing."""
    published = inputs["verdict"] == "publish"
    if not published and not inputs["why"]:
        raise InputsError(why="Please say why it is rejected.")
    return {"published": published, "why": inputs["why"]}
