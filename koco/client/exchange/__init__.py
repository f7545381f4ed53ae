"""The parts of an exchange with a control plane, which `koco.client.transport` puts together.

The server is not trusted: `bounded_body` limits the data that arrives, `memory_budget` what is made
of it, and `shape_check` checks it against the shape that the caller needs. Begin with `answer`.
"""
