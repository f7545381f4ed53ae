"""The runner as a process of the operating system: identity, memory, interruption, shared state.

It imports `sdk` only. Begin with `fence`.
"""
