"""Traces of executions: whose trace each belongs to, and the spans that are exported of it.

Begin with `arrived`, which is where a caller's trace comes in. Nothing here is imported from
OpenTelemetry unless the environment asks for an export.
"""
