from ray import serve

from values import (
    actions,
    blanks,
    boxes,
    choices,
    dates,
    forms,
    messages,
    modern,
    numbers,
    odd,
    strangers,
    uploads,
)
from values.app import app

#: Importing them has added their routes.
PAGES = [
    actions,
    blanks,
    boxes,
    choices,
    dates,
    forms,
    messages,
    modern,
    numbers,
    odd,
    strangers,
    uploads,
]


@serve.deployment
@serve.ingress(app)
class Values:
    pass


fast_app = Values.bind()
