"""Schedules: launch flows when they are due, and what people do about that: pause, resume, trigger.

Begin with `schedules`.
"""
