"""Executions' streams of events, and the steps of an execution's life, which they record.

It imports `sql` and `model`. Begin with `lifecycle`.
"""
