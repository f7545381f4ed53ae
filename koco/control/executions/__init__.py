"""Executions from launch to final status, with their locks, files, deadlines and schedules.

This package may import `runners`, `services`, `events`, `access` and `storage`. Begin with
`launcher`, then `supervisor`.
"""
