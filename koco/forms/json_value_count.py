"""Count the values in JSON before it is decoded.

Decoding holds Python's lock: 16 MB of `[[],[],…` would stop everything else for seconds, and so
would any code that looks at each value afterwards. Counting takes as long as reading the memory.
"""

#: How much is counted at once (bytes).
_PIECE_BYTES = 64 * 1024


def has_more(text: bytes, most: int) -> bool:
    """Return whether JSON has more than `most` values; exact if the text is valid JSON."""
    if not _exceed([text], most):
        return False
    # Leave out texts, which may contain commas and brackets; first the quotes within them.
    bare = text
    if b"\\" in text:
        bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * most:  # two for each text, which is a value or a key
        return True
    return _exceed(bare.split(b'"')[::2], most)


def _exceed(texts: list[bytes], most: int) -> bool:
    """Return whether more values begin in texts: each except the first follows a separator."""
    found = 1
    for text in texts:
        for at in range(0, len(text), _PIECE_BYTES):
            piece = text[at : at + _PIECE_BYTES]
            found += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
            if found > most:
                return True
    return False
