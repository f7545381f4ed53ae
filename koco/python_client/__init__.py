"""`koco.Client` and `koco.AsyncClient`: launch and follow flows from any Python program.

They say in Python what the command line says in commands, and use the same `koco.client`
underneath. Begin with `client`; `execution` is what a launch returns, `flow` a flow as a callable.
`asynchronous` is the same for programs with an event loop.
"""
