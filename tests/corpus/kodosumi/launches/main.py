from ray import serve

from launches import (
    callers,
    closures,
    keywords,
    lists,
    methods,
    models,
    mute,
    objects,
    paths,
    refused,
    sets,
)
from launches.app import app

#: Importing them has added their routes.
PAGES = [
    callers,
    closures,
    keywords,
    lists,
    methods,
    models,
    mute,
    objects,
    paths,
    refused,
    sets,
]


@serve.deployment
@serve.ingress(app)
class Launches:
    pass


fast_app = Launches.bind()
