"""The command line. A command parses, calls one operation and renders.

It may import everything, and nothing imports it. Begin with `main`, which has the table of
commands; `commands/key/create.py` is `koco key create`.

Only `main` turns errors into messages and exit codes, and only `terminal` draws. `koco --help` must
start fast, so the modules of commands import nothing heavy at the top.
"""
