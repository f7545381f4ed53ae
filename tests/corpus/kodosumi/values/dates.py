"""Days, times and moments are the text that was sent, so `strptime` works."""

from datetime import datetime

from fastapi import Request
from kodosumi.core import InputsError, Launch
from kodosumi.core import forms as F

from values.app import app

FORM = F.Model(
    F.InputDate(name="day", label="Day", min_date="2026-01-01"),
    F.InputTime(name="hour", label="Hour"),
    F.InputDateTime(name="start", label="Start"),
    F.Submit("Book"),
)


@app.enter("/dates", model=FORM, summary="Book a room")
async def book(request: Request, inputs: dict):
    try:
        datetime.strptime(inputs["day"], "%Y-%m-%d")
    except ValueError:
        raise InputsError(day=f"{inputs['day']} is not a day") from None
    return Launch(request, "values.dates:run", inputs=inputs)


def run(inputs: dict):
    day = datetime.strptime(inputs["day"], "%Y-%m-%d")
    hour = datetime.strptime(inputs["hour"], "%H:%M")
    start = datetime.fromisoformat(inputs["start"])
    return [day.day, hour.hour, start.minute, inputs["start"]]
