"""`Launch`, under the name of Kodosumi's module for it, `kodosumi.runner.main`."""

from koco.kodosumi.endpoint.launch import Launch

__all__ = ["Launch"]
