"""The runner as a process of the operating system: identity, memory, shared state.

It imports `sdk` only. Begin with `identity`.
"""
