"""What differs between what is live and what is to be: pure comparisons, no I/O."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Literal

from koco.manifest.model import Manifest
from koco.manifest.problems import KeyPath


class Absent(Enum):
    """What stands for a value where there is none; null is one."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT

#: What a change is about, in the order in which it is told.
PARTS = ("code", "environment", "replicas", "settings")

#: Keys of a manifest that are not just settings.
_PARTS: dict[KeyPath, str] = {
    ("runtime", "files"): "settings",  # which files those are is told by the files
    ("runtime", "include"): "settings",
    ("runtime",): "environment",
    ("secrets",): "environment",
    ("runner",): "replicas",
    ("serve",): "replicas",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A value of a manifest that differs; each of the two may be `ABSENT`.

    In the path, an element of a list stands by its `name`, if all of them have one.
    """

    path: KeyPath
    old: Any
    new: Any

    @property
    def part(self) -> str:
        """What the change is about: one of `PARTS`."""
        return _PARTS.get(self.path[:2]) or _PARTS.get(self.path[:1], "settings")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a bundle."""

    path: str
    size_bytes: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs; `mode` where it is only whether it can be executed."""

    path: str
    change: Literal["added", "changed", "mode", "removed"]
    old_bytes: int | None
    new_bytes: int | None


def normal(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest's data as it says the same whichever koco wrote it.

    Defaults are left out: a key that a newer koco has changes nothing by being there. Of what
    this koco does not understand, everything counts.
    """
    return _dumped(manifest, exclude_defaults=True)


def fingerprint(manifest: dict[str, Any], bundle: str) -> str:
    """Return what two releases have in common if, and only if, they say the same."""
    text = json.dumps([normal(manifest), bundle], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return every value in which two manifests differ, defaults filled in.

    There is none if, and only if, their `normal` forms are equal.
    """
    if _same(normal(old), normal(new)):
        return []
    # As people read it: `10 → 20`, though the 10 was never written down.
    return list(_differences((), _dumped(old), _dumped(new)))


def file_changes(old: Iterable[File], new: Iterable[File]) -> list[FileChange]:
    """Return the files in which two bundles differ, by path."""
    before = {file.path: file for file in old}
    after = {file.path: file for file in new}
    paths = sorted(before.keys() | after.keys())
    return [
        _file_change(path, before.get(path), after.get(path))
        for path in paths
        if before.get(path) != after.get(path)
    ]


def parts(
    manifest: dict[str, Any], changed: Iterable[Change], files: Iterable[FileChange]
) -> list[str]:
    """Return what the changes that lead to a manifest are about: some of `PARTS`, in their order.

    A file of which the environment is made is no code.
    """
    runtime = manifest.get("runtime") or {}
    made_of = {runtime.get("requirements"), runtime.get("pyproject")}
    if runtime.get("pyproject"):
        made_of.add(str(PurePosixPath(runtime["pyproject"]).with_name("uv.lock")))
    found = {change.part for change in changed}
    found |= {"environment" if file.path in made_of else "code" for file in files}
    return [part for part in PARTS if part in found]


def _dumped(manifest: dict[str, Any], **options: bool) -> dict[str, Any]:
    from pydantic import ValidationError

    try:
        checked = Manifest.model_validate(manifest)
    except ValidationError:
        return manifest
    return checked.model_dump(mode="json", **options)  # type: ignore[arg-type]


def _differences(path: KeyPath, old: Any, new: Any) -> Iterator[Change]:
    pair = _by_key(old, new)
    if pair is None:
        if not _same(old, new):
            yield Change(path, old, new)
        return
    before, after = pair
    for key in dict.fromkeys([*before, *after]):
        yield from _differences((*path, key), before.get(key, ABSENT), after.get(key, ABSENT))
    # Keys keep their order, and those that are new come last: otherwise the order has changed.
    expected = [key for key in {**before, **after} if key in after]
    if isinstance(old, list) and expected != list(after):
        yield Change(path, list(before), list(after))


def _by_key(old: Any, new: Any) -> tuple[dict[Any, Any], dict[Any, Any]] | None:
    """Return two values as mappings that can be compared key by key, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old, new
    if isinstance(old, list) and isinstance(new, list):
        named = _by_name(old), _by_name(new)
        if named[0] is not None and named[1] is not None:
            return named[0], named[1]
        if len(old) == len(new) and any(isinstance(each, dict | list) for each in old):
            return dict(enumerate(old)), dict(enumerate(new))
    return None


def _by_name(listed: list[Any]) -> dict[str, Any] | None:
    """Return the elements of a list by their `name`, if each has one of its own."""
    if not listed or not all(isinstance(each, dict) for each in listed):
        return None
    names = [each.get("name") for each in listed]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return dict(zip(names, listed, strict=True))


def _same(old: Any, new: Any) -> bool:
    # Not `==`: to Python, 1 is True.
    return old is new or (
        old is not ABSENT
        and new is not ABSENT
        and json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    )


def _file_change(path: str, old: File | None, new: File | None) -> FileChange:
    if old is None:
        return FileChange(path, "added", None, new.size_bytes if new else None)
    if new is None:
        return FileChange(path, "removed", old.size_bytes, None)
    kind: Literal["changed", "mode"] = "mode" if old.sha256 == new.sha256 else "changed"
    return FileChange(path, kind, old.size_bytes, new.size_bytes)
