"""The hashes of MIP-004."""

import hashlib

from koco.control.payments.hashes import hash_input, hash_output


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_input_is_hashed_as_canonical_json_behind_its_identifier() -> None:
    """Neither the order of names nor the way in which a number is written matters."""
    expected = sha256('order;1;{"a":1,"b":"ü"}')
    assert hash_input({"b": "ü", "a": 1.0}, "order;1") == expected
    assert hash_input({"a": 1, "b": "ü"}, "order;1") == expected


def test_the_output_is_hashed_as_it_is() -> None:
    """A text with quotes and newlines is not changed before."""
    assert hash_output('a "b"\n', "id") == sha256('id;a "b"\n')


def test_the_output_can_be_hashed_as_it_stands_within_json() -> None:
    """The package `masumi` does so."""
    assert hash_output('ä "b"\n', "id", escaped=True) == sha256('id;ä \\"b\\"\\n')
