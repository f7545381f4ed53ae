"""Commands on several control planes at once: `--contexts a,b`.

`places` connects to them and says which have failed; the other modules are one command each.
"""
