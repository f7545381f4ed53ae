"""How many values JSON has, told before it is decoded.

Decoding keeps Python's lock: 16 MB of `[[],[],…` would keep everybody waiting for seconds, and
so would whatever looks at each value after that. Counting goes through the text as fast as
memory can be read.
"""

#: How much is counted before it is looked whether that is enough (bytes).
_PIECE_BYTES = 64 * 1024


def has_more(text: bytes, most: int) -> bool:
    """Say whether JSON has more than so many values; exact where the text is JSON."""
    if not _exceed([text], most):
        return False
    # Commas and brackets may stand in texts: leave those out, first the quotes within them.
    bare = text
    if b"\\" in text:
        bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * most:  # two for each text, which is a value or the name of one
        return True
    return _exceed(bare.split(b'"')[::2], most)


def _exceed(texts: list[bytes], most: int) -> bool:
    """Say whether so many values begin in texts: each but the first of all behind a separator."""
    found = 1
    for text in texts:
        for at in range(0, len(text), _PIECE_BYTES):
            piece = text[at : at + _PIECE_BYTES]
            found += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
            if found > most:
                return True
    return False
