"""The commands, and nothing else: one module for each, one package for each group.

A module has a function `command`; its docstring is the help text and ends with an example.
"""
