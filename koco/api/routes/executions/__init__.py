"""Executions and what belongs to them: events, changes, results, stacks, locks, files.

Begin with `executions`.
"""
