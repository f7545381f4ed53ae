"""The control plane: one actor's process with the store, the API and the parts that act.

It may import `cluster`, `runner`, `sdk`, `project` and what is below them; not `api`, which is
passed in. `actor` is the Ray actor, `process` its life, `assembly` makes the parts, and
`container` names them. Parts get what they need passed in and never import the container.

Everything runs on the actor's one event loop, so state needs no locks. A decision that must survive
the process is in the store before it is acted on.
"""
