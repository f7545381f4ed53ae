"""Only who can read the head's key is the head's user."""

import stat
from pathlib import Path

import msgspec
import pytest

from koco.control import head_key
from koco.control.head_key import Asked, HeadKey, signed
from koco.errors import KocoError, NotAllowedError


@pytest.fixture
def mine(tmp_path: Path) -> HeadKey:
    key = HeadKey(tmp_path)
    key.ensure()
    return key


def test_what_is_signed_is_opened_once(mine: HeadKey, tmp_path: Path) -> None:
    """With its arguments; sent again, it is refused."""
    blob = signed(str(tmp_path), "admit", digest=b"d" * 32, recover=True)
    assert mine.opened(blob) == ("admit", {"digest": b"d" * 32, "recover": True})
    with pytest.raises(NotAllowedError):
        mine.opened(blob)


def test_nothing_else_is(mine: HeadKey, tmp_path: Path) -> None:
    """Not by another key, for another action, with other arguments, and no rubbish."""
    (tmp_path / "other").mkdir()
    other = HeadKey(tmp_path / "other")
    other.ensure()
    blob = signed(str(tmp_path), "admit", digest=b"d" * 32, recover=True)
    asked = msgspec.msgpack.decode(blob, type=Asked)
    changed = msgspec.msgpack.encode({"digest": b"e" * 32, "recover": True})
    for wrong in (
        signed(str(tmp_path / "other"), "admit", digest=b"d" * 32, recover=True),
        msgspec.msgpack.encode(msgspec.structs.replace(asked, action="configure")),
        msgspec.msgpack.encode(msgspec.structs.replace(asked, arguments=changed)),
        msgspec.msgpack.encode(msgspec.structs.replace(asked, signature={})),
        msgspec.msgpack.encode(
            msgspec.structs.replace(asked, signature={**asked.signature, "x-koco-time": "soon"})
        ),
        b"",
        b"\xff" * 10,
    ):
        with pytest.raises(NotAllowedError):
            mine.opened(wrong)
    assert mine.opened(signed(str(tmp_path), "admit"))[0] == "admit"


def test_the_file_is_its_owners_alone_and_stays(mine: HeadKey, tmp_path: Path) -> None:
    """It is made once, and whoever cannot read it is told where it is."""
    path = tmp_path / head_key.FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    mine.ensure()
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(KocoError, match=r"cannot read .*head\.key"):
        signed(str(tmp_path), "admit")
