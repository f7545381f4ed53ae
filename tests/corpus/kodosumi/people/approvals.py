"""A lock shows a form, and its lease gets the answer, with keys that are not in the form."""

from fastapi import Request
from kodosumi.core import InputsError, Launch, Tracer
from kodosumi.core import forms as F

from people.app import app


@app.enter("/approvals", model=F.Model(F.InputNumber(name="amount")), summary="Approvals")
async def enter(request: Request, inputs: dict):
    return Launch(request, "people.approvals:run", inputs=inputs)


async def run(inputs: dict, tracer: Tracer):
    answer = await tracer.lock("approval", data={"amount": inputs["amount"]})
    await tracer.markdown("# Approved", f"by **{answer['who']}**")
    return answer


@app.lock("approval")
async def approval(data: dict):
    return F.Model(
        F.Markdown(f"May I spend {data['amount']}?"),
        F.Errors(),
        F.InputText(name="who"),
        F.Checkbox(name="ok", value=True),
        F.Submit("Decide"),
    )


@app.lease("approval")
async def approved(inputs: dict, data: dict):
    error = InputsError()
    if not inputs["who"]:
        error.add(who="Who are you?")
    if not inputs["ok"]:
        error.flash("It must be approved.")
    if error:
        raise error
    return {**inputs, "amount": data["amount"]}
