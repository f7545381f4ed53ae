"""Releases: checked, planned, rolled out, watched in their first minute, taken away.

It may import `executions`, `runners`, `services` and what is below them. Begin with `deployer`,
then `rollout`.
"""
