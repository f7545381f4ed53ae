"""Entrypoints: found by name, described as a form by their signature, called with their inputs.

Begin with `loader`.
"""
