"""The command line: parse, call one operation, render. One file per command.

`main` holds the registry of commands, turns every error into a message and an
exit code, and is alone in doing so. `output` is alone in drawing, `stream` in
drawing event streams. Nothing imports this package, and a command's module
imports nothing at its top that `koco --help` does not need: start-up is a bar.
"""
