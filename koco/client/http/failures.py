"""What can go wrong with a request. `str` is the system's own text where there is one."""


class HttpError(Exception):
    """A request that got no whole answer."""


class ConnectError(HttpError):
    """No connection was made, so the request cannot have taken effect."""


class ConnectTimeoutError(ConnectError):
    """No connection was made in time."""


class ProxyError(ConnectError):
    """The proxy does not connect to the server."""


class SilenceError(HttpError):
    """Nothing came, or could be sent, in time."""


class BrokenError(HttpError):
    """The connection broke, or what came is not HTTP."""


class RequestError(HttpError):
    """A request that cannot be sent as it is."""
