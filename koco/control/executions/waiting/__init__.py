"""What waits of flows have in common: pending requests, one timer, room on the disk.

Imports nothing else of `koco.control.executions`. Begin with `waiters`.
"""
