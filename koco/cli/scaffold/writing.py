"""Write a project's files: all of them, or none."""

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from koco.errors import ConflictError, UsageError

#: The mode of a new file, and of one that is a program, before the user's umask.
_MODES = {False: 0o666, True: 0o777}


@dataclass(frozen=True)
class Content:
    """What a file is to have, and whether it is a program."""

    data: bytes
    is_executable: bool = False


def refuse_overwrite(directory: Path, files: Collection[Path]) -> None:
    """Raise `ConflictError` if something exists where a file or folder is to be written."""
    hint = "choose another folder, or move these away"
    above = (directory, *directory.absolute().parents)
    if any(os.path.lexists(path) and not path.is_dir() for path in above):
        raise ConflictError(f"{directory} is not a folder", hint=hint)
    folders = {directory / parent for path in files for parent in path.parents} - {directory}
    ways = [path for path in folders if os.path.lexists(path) and not path.is_dir()]
    # Broken links count too, because writing would create their targets.
    ways += [directory / path for path in files if os.path.lexists(directory / path)]
    if ways:
        listed = ", ".join(sorted(path.relative_to(directory).as_posix() for path in ways))
        raise ConflictError(f"these already exist in {directory}: {listed}", hint=hint)


def write(directory: Path, files: Mapping[Path, Content]) -> None:
    """Write files into a folder, which is made if needed.

    If one cannot be written, those before it are removed again.

    Raises:
        UsageError: a file or folder cannot be written.
        ConflictError: one was created meanwhile.
    """
    made: list[Path] = []
    try:
        for path, content in files.items():
            _write(directory / path, content, made)
    except BaseException:
        _remove(made)
        raise


def _write(target: Path, content: Content, made: list[Path]) -> None:
    """Write one file. What is created is added to `made`."""
    try:
        for folder in reversed([each for each in target.parents if not each.is_dir()]):
            folder.mkdir()
            made.append(folder)
        # Exclusively, so that a file that was created meanwhile is not overwritten either.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(target, flags, _MODES[content.is_executable]), "wb") as out:  # noqa: PTH123 - a mode
            made.append(target)
            out.write(content.data)
    except FileExistsError as exc:
        raise ConflictError(f"{target} was created meanwhile", hint="try again") from exc
    except OSError as exc:
        hint = "nothing was written; choose another folder"
        raise UsageError(f"{target} cannot be written: {exc.strerror}", hint=hint) from exc


def _remove(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):  # somebody else has put something into the folder
            path.rmdir() if path.is_dir() else path.unlink()
