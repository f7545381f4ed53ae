"""The control plane: one actor's process with the store, the API and the parts that act.

It may import `cluster`, `runner`, `sdk`, `project` and the layers below them. It does not import
`api`, which is passed in. `actor` is the Ray actor, `process` its life cycle, `assembly` makes the
parts, and `container` names them. Parts get their dependencies passed in and never import the
container.

Everything runs on the actor's one event loop, so state needs no locks. A decision that must survive
the process is written to the store before it is acted on.
"""
