"""How many values JSON has, told before it is decoded.

Decoding keeps Python's lock: 16 MB of `[[],[],…` would keep everybody waiting for seconds, and
so would whatever looks at each value after that. Counting goes through the text as fast as
memory can be read.
"""


def has_more(text: bytes, most: int) -> bool:
    """Say whether JSON has more than so many values; exact where the text is JSON."""
    if _separators(text) <= most:
        return False
    # Commas and brackets may stand in texts: leave those out, first the quotes within them.
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * most:  # two for each text, which is a value or the name of one
        return True
    return _separators(b"".join(bare.split(b'"')[::2])) > most


def _separators(text: bytes) -> int:
    # Each value but the first of all comes behind one of them.
    return text.count(b",") + text.count(b"[") + text.count(b"{") + 1
