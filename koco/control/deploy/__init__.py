"""Checks, plans, rolls out, watches and removes releases.

It may import `executions`, `runners`, `services` and what is below them. Begin with `deployer`,
then `rollout`.
"""
