"""The durable state: services, releases, executions, events, files and keys, on disk.

Everything else (actors, environments, connections) can be rebuilt from it. It imports `events`,
`plurals` and `errors`. Begin with `store` and `model`, then read a repository: each subject has
one, in the module of its name, with its SQL. The SQL is portable. Whatever depends on a database
is in `engine`, and nothing outside of this package may know which one runs.
"""
