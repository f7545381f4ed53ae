"""Executions: from a launch to a final status; with their locks, files, deadlines and schedules.

It may import `runners`, `services`, `events`, `access` and `storage`. Begin with `launcher`, then
`supervisor`.
"""
