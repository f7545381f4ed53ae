"""`ServeAPI` and `Templates`, under the name of Kodosumi's module for them."""

from koco.kodosumi.endpoint.serve_api import ServeAPI
from koco.kodosumi.endpoint.templating import Templates

__all__ = ["ServeAPI", "Templates"]
