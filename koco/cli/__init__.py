"""The command line. A command parses, calls one operation and renders.

It may import everything, and nothing imports it. Begin with `main`, and `catalog`, the table of
commands; `commands/key/create.py` is `koco key create`.

Only `main` turns errors into messages and exit codes, and only `terminal` draws. Start-up must be
fast: only the called command is imported, and `koco --help` imports none. So commands import at the
top, and modules that several commands share import heavy modules where they need them.
"""
