"""The endpoint: what koco asks when somebody launches a review, and when somebody answers one."""

import fastapi
from koco import InputsError, Launch, ServeAPI
from koco import forms as F

from __PACKAGE__.review import LONGEST, review

app = ServeAPI()


@app.enter(
    "/review",
    model=F.Model(
        F.InputText(name="title", label="Title", required=True, max_length=80),
        F.InputArea(name="text", label="Text", required=True),
        F.Submit("Hand in"),
    ),
    summary="Have a document reviewed",
)
async def enter(request: fastapi.Request, inputs: dict) -> Launch:
    """Launch a review. The form has checked the inputs; check here what a form cannot."""
    words = len(inputs["text"].split())
    if words > LONGEST:
        raise InputsError(text=f"Please hand in at most {LONGEST} words, not {words}.")
    return Launch(request, review, inputs=inputs | {"author": request.state.user})


@app.lock("approval")
async def approval(data: dict) -> F.Model:
    """Return what the reviewer sees, made from the document."""
    return F.Model(
        F.Markdown(f"## {data['title']}\n\n{data['text']}"),
        F.Select(
            name="verdict",
            label="What becomes of it?",
            option=[F.InputOption("publish", "publish it"), F.InputOption("reject", "reject it")],
            required=True,
        ),
        F.InputText(name="why", label="Why not"),
        F.Submit("Decide"),
    )


@app.lease("approval")
async def decide(inputs: dict) -> dict:
    """Return what the flow gets. The lock stays open if a reason is missing."""
    published = inputs["verdict"] == "publish"
    if not published and not inputs["why"]:
        raise InputsError(why="Please say why it is rejected.")
    return {"published": published, "why": inputs["why"]}


@app.get("/limits")
def limits() -> dict[str, int]:
    """Answer other requests, as any FastAPI application does."""
    return {"words": LONGEST}
