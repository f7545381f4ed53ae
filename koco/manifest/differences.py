"""Comparison of manifests and bundles: the changes of a deploy. Pure, no I/O."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from koco.manifest.problems import KeyPath

if TYPE_CHECKING:
    from koco.manifest.model import Runtime


class Absent(Enum):
    """The mark of a missing value, which differs from null."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT

#: The parts of a service that can change, in the order in which a plan lists them.
PARTS = ("code", "environment", "replicas", "settings")

#: The part of each key. Keys that are not here are settings.
_PARTS: dict[KeyPath, str] = {
    ("runtime", "files"): "settings",  # the plan lists the changed files themselves
    ("runtime", "include"): "settings",
    ("runtime",): "environment",
    ("secrets",): "environment",
    ("runner",): "replicas",
    ("serve",): "replicas",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A value of a manifest that differs. `old` or `new` may be `ABSENT`.

    The path has the names of a list's elements if all have one, else their indices.
    """

    path: KeyPath
    old: Any
    new: Any

    @property
    def part(self) -> str:
        """The part of the service that changes: one of `PARTS`."""
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
    """A file that differs. The change is `mode` if only the executable bit differs."""

    path: str
    change: Literal["added", "changed", "mode", "removed"]
    old_bytes: int | None
    new_bytes: int | None


def normalize(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest's data in a form that does not depend on koco's version.

    Defaults are left out, so a key that only a newer koco has is not a change. If this koco does
    not understand the manifest, it is returned as it is.
    """
    return _dump(manifest, exclude_defaults=True)


def fingerprint(manifest: dict[str, Any], bundle: str) -> str:
    """Return a hash that is equal for two releases if, and only if, their contents are equal."""
    text = json.dumps([normalize(manifest), bundle], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def compare_manifests(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return every value in which two manifests differ, with defaults filled in.

    The result is empty if, and only if, their normalized forms are equal.
    """
    if _is_same(normalize(old), normalize(new)):
        return []
    # With defaults, because people expect `10 → 20` even if no manifest ever had the 10.
    return list(_differences((), _dump(old), _dump(new)))


def compare_files(old: Iterable[File], new: Iterable[File]) -> list[FileChange]:
    """Return the files in which two bundles differ, sorted by path."""
    before = {file.path: file for file in old}
    after = {file.path: file for file in new}
    found = []
    for path in sorted(before.keys() | after.keys()):
        a, b = before.get(path), after.get(path)
        if a is None and b is not None:
            found.append(FileChange(path, "added", None, b.size_bytes))
        elif a is not None and b is None:
            found.append(FileChange(path, "removed", a.size_bytes, None))
        elif a is not None and b is not None and a != b:
            kind: Literal["changed", "mode"] = "mode" if a.sha256 == b.sha256 else "changed"
            found.append(FileChange(path, kind, a.size_bytes, b.size_bytes))
    return found


def changed_parts(
    runtime: "Runtime", changed: Iterable[Change], files: Iterable[FileChange]
) -> list[str]:
    """Return the parts that these changes concern, in the order of `PARTS`.

    `runtime` is the new one. A file that defines the environment does not count as code.
    """
    made_of = {runtime.requirements, runtime.pyproject}
    if runtime.pyproject:
        made_of.add(str(PurePosixPath(runtime.pyproject).with_name("uv.lock")))
    found = {change.part for change in changed}
    found |= {"environment" if file.path in made_of else "code" for file in files}
    return [part for part in PARTS if part in found]


def _dump(manifest: dict[str, Any], **options: bool) -> dict[str, Any]:
    from pydantic import ValidationError

    from koco.manifest.model import Manifest

    try:
        checked = Manifest.model_validate(manifest)
    except ValidationError:
        return manifest
    return checked.model_dump(mode="json", **options)  # type: ignore[arg-type]


def _differences(path: KeyPath, old: Any, new: Any) -> Iterator[Change]:
    pair = _by_key(old, new)
    if pair is None:
        if not _is_same(old, new):
            yield Change(path, old, new)
        return
    before, after = pair
    for key in dict.fromkeys([*before, *after]):
        yield from _differences((*path, key), before.get(key, ABSENT), after.get(key, ABSENT))
    # If only additions and removals changed the list, the old keys keep their order and new ones
    # come last. Any other order is a change.
    expected = [key for key in {**before, **after} if key in after]
    if isinstance(old, list) and expected != list(after):
        yield Change(path, list(before), list(after))


def _by_key(old: Any, new: Any) -> tuple[dict[Any, Any], dict[Any, Any]] | None:
    """Return two values as mappings to compare key by key, or None if they are not comparable."""
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
    """Return the elements of a list by their `name`, or None if names are missing or repeated."""
    if not listed or not all(isinstance(each, dict) for each in listed):
        return None
    names = [each.get("name") for each in listed]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return dict(zip(names, listed, strict=True))


def _is_same(old: Any, new: Any) -> bool:
    # Not `==`, because 1 == True in Python.
    return old is new or (
        old is not ABSENT
        and new is not ABSENT
        and json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    )
