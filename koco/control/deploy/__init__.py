"""Checks, plans, rolls out, watches and removes releases.

It may import `executions`, `runners`, `services` and the layers below. Begin with `deployer`,
then `rollout`.
"""
