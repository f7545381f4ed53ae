"""The client of the HTTP API, and the contexts that say which control plane is meant.

It may import `errors`, `versions` and pure models. It does not trust the server: sizes and times
are bounded as an answer arrives, and each answer is checked against its shape. Begin with `client`.
"""
