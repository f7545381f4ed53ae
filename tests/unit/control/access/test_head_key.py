"""Only who can read the head's key is the head's user."""

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.control.access import head_key
from koco.control.access.head_key import HeadKey, Signed, setting_names, sign_request
from koco.errors import KocoError, NotAllowedError


@pytest.fixture
def mine(tmp_path: Path) -> HeadKey:
    key = HeadKey(tmp_path)
    key.ensure()
    return key


def test_opens_a_signed_request_once(mine: HeadKey, tmp_path: Path) -> None:
    """With its arguments. If it is sent again, it is refused."""
    blob = sign_request(str(tmp_path), "admit", digest=b"d" * 32, recover=True)
    assert mine.open_request(blob) == ("admit", {"digest": b"d" * 32, "recover": True})
    with pytest.raises(NotAllowedError):
        mine.open_request(blob)


def test_refuses_every_other_request(mine: HeadKey, tmp_path: Path) -> None:
    """Another key, another action, other arguments, and garbage."""
    (tmp_path / "other").mkdir()
    other = HeadKey(tmp_path / "other")
    other.ensure()
    blob = sign_request(str(tmp_path), "admit", digest=b"d" * 32, recover=True)
    request = msgspec.msgpack.decode(blob, type=Signed)
    changed = msgspec.msgpack.encode({"digest": b"e" * 32, "recover": True})
    for wrong in (
        sign_request(str(tmp_path / "other"), "admit", digest=b"d" * 32, recover=True),
        msgspec.msgpack.encode(msgspec.structs.replace(request, action="configure")),
        msgspec.msgpack.encode(msgspec.structs.replace(request, arguments=changed)),
        msgspec.msgpack.encode(msgspec.structs.replace(request, signature={})),
        msgspec.msgpack.encode(
            msgspec.structs.replace(request, signature={**request.signature, "x-koco-time": "soon"})
        ),
        b"",
        b"\xff" * 10,
        *(None, 5, {"a": 1}, "text"),
    ):
        with pytest.raises(NotAllowedError):
            mine.open_request(wrong)  # type: ignore[arg-type]
    assert mine.open_request(sign_request(str(tmp_path), "admit"))[0] == "admit"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"max_running": 1, "max_queue": 2}, "max_running max_queue"),
        ({5: 1, None: 2, "\ud800": 3}, "5 None \\ud800"),
        ({"k" * 10**6: 1, **dict.fromkeys(range(10**5))}, "k" * 200),
        *[(values, "") for values in (None, 5, [1], "max_running", {})],
    ],
)
def test_any_requested_settings_have_a_name_for_the_log(values: Any, name: str) -> None:
    """Even invalid ones, because a refused attempt is logged, too."""
    assert setting_names(values) == name


def test_the_file_belongs_to_its_owner_and_stays(mine: HeadKey, tmp_path: Path) -> None:
    """It is created once. An error about it names its path."""
    path = tmp_path / head_key.FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    mine.ensure()
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(KocoError, match=r"cannot read .*head\.key"):
        sign_request(str(tmp_path), "admit")
