"""The control plane: one actor's process, with the store, the API and their movers.

    plane        the actor: starts the parts, restarts with its process
    spooler      events: into the store, out to those who follow
    supervisor   executions: which pool runs them, what became of them after a restart
    pool         the runners of one release
    deployer     releases: from starting to live or failed
    tasks        what runs beside all that

Everything runs on the actor's one event loop; state needs no locks, and every
decision that must survive is in the store before it is acted on.
"""
