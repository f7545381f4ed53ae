"""Interrupt the threads that run a user's code, and no code of koco's in them.

It imports nothing else of koco. Begin with `fence`.
"""
