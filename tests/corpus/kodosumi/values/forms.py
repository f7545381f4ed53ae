"""A form can be taken apart and put together again: JSON, HTML, children."""

import json

from kodosumi.service.inputs.forms import Errors, InputText, Model, Submit

from values.app import app

FORM = Model(Errors(), InputText("topic", "Topic"), Submit("Go"))


@app.get("/parts", summary="The parts of a form")
async def parts():
    again = Model.model_validate(FORM.get_model(), errors={"topic": ["Too short."]})
    again.set_data({"topic": '"x"'})
    return {
        "children": [type(each).__name__ for each in FORM.children],
        "model": FORM.get_model()[1],
        "same": json.loads(FORM.get_model_json())["elements"] == FORM.get_model(),
        "html": again.render(),
    }
