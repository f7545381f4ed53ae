"""The inputs of a flow: from `key=value`, from files, and from questions at a terminal.

It may import `terminal`. Begin with `key_values`, then `prompt`.
"""
