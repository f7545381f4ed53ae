"""The client of the HTTP API, and the contexts that select a control plane.

It may import `errors`, `versions` and pure models. It does not trust the server: it limits the size
and time of each answer as it arrives, and checks the answer against its shape. Begin with `client`.
"""
