from ray import serve

from people import (
    approvals,
    pages,
    plain_locks,
    templates,
    timeouts,
)
from people.app import app

#: Importing them has added their routes.
PAGES = [
    approvals,
    pages,
    plain_locks,
    templates,
    timeouts,
]


@serve.deployment
@serve.ingress(app)
class People:
    pass


fast_app = People.bind()
