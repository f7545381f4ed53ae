"""Write all of an execution into a folder: events, inputs, result, steps, files.

A folder appears only when it is complete, and is replaced only as a whole.
"""

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koco import file_paths
from koco.cli import pages
from koco.cli.terminal import output
from koco.client.answers import Execution
from koco.client.client import Client
from koco.errors import ConflictError, KocoError, UsageError
from koco.events.model import FINAL
from koco.sizes import MB

#: The file with the execution as it was; a folder without it is not an export.
_EXECUTION = "execution.json"

#: The most recorded steps that are asked for.
_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export. One that was there already, and is still right, is not `new`."""

    fid: str
    path: Path
    new: bool
    events: int = 0
    files: int = 0


def export(client: Client, execution: Execution, to: Path, *, force: bool) -> Export:
    """Write an execution into a folder of its fid; replace an older export of it.

    Raises:
        ConflictError: there is a folder of this name that is not an export.
        KocoError: something could not be read or written. An earlier export stays as it was.
    """
    fid, path = execution["fid"], to / execution["fid"]
    # Asked even if it is forced, because only an export may be replaced.
    if os.path.lexists(path) and _is_current(path, execution) and not force:
        return Export(fid, path, new=False)
    part = to / f".{fid}.{secrets.token_hex(4)}.part"
    try:
        part.mkdir(parents=True)
        events, files = _write(client, execution, part)
        _put(part, path)
    except OSError as exc:
        what = f"cannot write {exc.filename or part}: {exc.strerror}"
        raise output.unwritten(exc, what) or UsageError(what) from exc
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Export(fid, path, new=True, events=events, files=files)


def _is_current(path: Path, execution: Execution) -> bool:
    """Return whether an export has everything that happened to an execution.

    Raises:
        ConflictError: the folder is not an export.
    """
    try:
        before = json.loads((path / _EXECUTION).read_bytes())
        known = before["fid"], before["status"], before["last_seq"]
        return known == (execution["fid"], execution["status"], execution.get("last_seq"))
    except (OSError, ValueError, KeyError, TypeError):
        raise ConflictError(
            f"{path} exists, and is not an export", hint="choose another --to folder"
        ) from None


def _write(client: Client, execution: Execution, folder: Path) -> tuple[int, int]:
    """Write an execution; return the numbers of events and files."""
    fid = execution["fid"]
    _dump(folder / _EXECUTION, execution)
    _dump(folder / "inputs.json", execution["inputs"])
    events = _write_events(client, fid, folder / "events.ndjson")
    if execution["status"] in FINAL:
        _dump(folder / "result.json", client.result(fid))
    steps = pages.gather(client.steps, _STEPS, fid=fid)["items"]
    if steps:
        _dump(folder / "steps.json", steps)
    return events, _write_files(client, fid, folder / "files")


def _write_events(client: Client, fid: str, path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for lines in client.stream(fid):
            file.writelines(line + b"\n" for line in lines)
            count += len(lines)
    return count


def _write_files(client: Client, fid: str, folder: Path) -> int:
    files = client.files.ls(fid)
    # Checked again, because the server's names become local paths.
    targets = [(file, folder / file_paths.path(file["path"])) for file in files]
    total = sum(file["size_bytes"] for file in files)
    if total > shutil.disk_usage(folder.parent).free:
        raise KocoError(f"{fid} has {total / MB:.1f} MB of files, and {folder.parent} less room")
    with output.progress(f"files of {fid}", total) as advance:
        for file, local in targets:
            local.parent.mkdir(parents=True, exist_ok=True)
            client.files.fetch(fid, file, local, advance=advance)
    return len(files)


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _put(part: Path, path: Path) -> None:
    """Put a finished folder in its place. A former one goes only after that."""
    former = path.with_name(f"{part.name}-former")
    if path.exists():
        path.rename(former)
    part.rename(path)
    shutil.rmtree(former, ignore_errors=True)
