"""`koco mcp`: a server of the Model Context Protocol on stdin and stdout.

`forwarder` sends what a client says to the control plane of the current context. `operations` are
the tools of `--operate`, which run koco's own commands. `client_config` prints how to add it to
clients.
"""
