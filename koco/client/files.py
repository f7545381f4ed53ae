"""Files of executions over HTTP. Both directions work in pieces, so memory does not grow with size.

An upload resumes at the offset that the control plane reports, a download at the byte that it has
reached. Both check the hash of the whole content. So a broken connection or a restarted control
plane costs only time.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from koco import file_paths
from koco.client import answers, local_files
from koco.client.answers import File
from koco.client.exchange.answer import Answer, Incoming
from koco.client.exchange.attempts import Attempts
from koco.client.local_files import Advance
from koco.client.transport import Transport
from koco.errors import AnswerError, ConflictError, KocoError, UnreachableError
from koco.plurals import counted

#: The most that one request uploads (bytes), which is also the most that a refusal wastes.
_SLICE_BYTES = 32 * 1024 * 1024
#: Time without progress before giving up (seconds).
_PATIENCE_S = 60.0
#: Timeout of an answer (seconds): it may include reading again the content of earlier requests.
_ANSWER_S = 300.0
_SILENCE_S = 30.0

#: A size in a header.
_DIGITS = re.compile("[0-9]{1,18}")


def _nothing(_: int) -> None:
    pass


class Files:
    """The files of a control plane's executions. Safe to use from several threads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ls(self, fid: str, path: str = "") -> list[File]:
        """Return the files at or below a path: `{path, size_bytes, sha256, created, by}`.

        Raises:
            NotFoundError: there is no file or folder at that path.
        """
        query = {"path": file_paths.place(path) if path else None}
        return self._transport.items(f"/v1/executions/{quote(fid)}/files", File, query)

    def attach(self, fid: str, path: str, *, sha256: str, size_bytes: int) -> File:
        """Give an execution a file whose content is already uploaded."""
        body = {"sha256": sha256, "size_bytes": size_bytes}
        return self._transport.json("PUT", _url(fid, file_paths.path(path)), File, body=body)

    def remove(self, fid: str, path: str) -> list[File]:
        """Remove a file or a whole folder, and return the removed files."""
        url = _url(fid, file_paths.place(path))
        return self._transport.json("DELETE", url, answers.Removed)["items"]

    # up

    def upload(
        self,
        path: Path,
        sha256: str,
        *,
        size_bytes: int,
        advance: Advance = _nothing,
        among: str = "blobs",
    ) -> None:
        """Upload a file's content if it is not there yet, as a blob or among `bundles`.

        Raises:
            UnreachableError: there was no progress for a minute.
            KocoError: the control plane refused; the message is its own.
        """
        url = f"/v1/{among}/{sha256}"
        attempts: Attempts | None = None
        at, furthest, is_known, is_complete = 0, 0, False, False
        while not is_complete:
            before = at
            try:
                if is_known:
                    at, is_complete = self._send(url, path, at, size_bytes)
                else:
                    at, is_complete = self._state(self._transport.call("HEAD", url), size_bytes)
                    is_known = True
            except UnreachableError as exc:
                if not self._transport.has_answered:
                    raise  # already waited for
                is_known = False
                # Counted from the first failure, because a slice may take minutes on a slow line.
                attempts = attempts or self._transport.attempts(_PATIENCE_S)
                attempts.pause(exc)
            if at > furthest:
                furthest, attempts = at, None
            advance((size_bytes if is_complete else at) - before)

    def _send(self, url: str, path: Path, at: int, size_bytes: int) -> tuple[int, bool]:
        """Send the next slice; return the new offset, and whether the upload is complete."""
        count = min(_SLICE_BYTES, size_bytes - at)
        headers = {"Upload-Offset": str(at), "Upload-Length": str(size_bytes)}
        answer = self._transport.call(
            "PATCH",
            url,
            headers={**headers, "Content-Length": str(count)},
            content=lambda: local_files.pieces(path, at, count),
            timeout_s=_ANSWER_S,
            repeatable=False,
            accept=(409, 423, 504),
        )
        if not answer.is_success:
            raise UnreachableError(f"another upload of {path} is in progress")
        arrived, is_complete = self._state(answer, size_bytes)
        if arrived <= at and not is_complete:
            raise UnreachableError(f"the upload of {path} does not progress")
        return arrived, is_complete

    def _state(self, answer: "Answer", size_bytes: int) -> tuple[int, bool]:
        """Return the offset of an upload of that size, and whether it is complete."""
        offset = answer.headers.get("Upload-Offset", "")
        state = {
            "Upload-Offset": int(offset) if _DIGITS.fullmatch(offset) else None,
            "Upload-Complete": answer.headers.get("Upload-Complete"),
        }
        self._transport.check(state, answers.Uploading)
        return min(int(offset), size_bytes), state["Upload-Complete"] == "?1"

    # down

    def read(self, fid: str, file: File, *, start: int = 0, digest: Any = None) -> Iterator[bytes]:
        """Yield a file's content from a byte offset, and check the whole content's hash at the end.

        `digest` has hashed the bytes before `start`.

        Raises:
            ConflictError: the file was replaced in the meantime.
            KocoError: the content does not match the file's hash.
        """
        digest = digest or hashlib.sha256()
        attempts, at = self._transport.attempts(_PATIENCE_S), start
        while at < file["size_bytes"]:
            try:
                with self._transport.stream(
                    _url(fid, file["path"]),
                    query={},
                    headers={"Range": f"bytes={at}-"},
                    silence_s=_SILENCE_S,
                    follows=True,
                ) as incoming:
                    _require_same(incoming, file)
                    for chunk in incoming.pieces(local_files.CHUNK_BYTES):
                        at += len(chunk)
                        if at > file["size_bytes"]:
                            raise self._too_long(file)
                        digest.update(chunk)
                        yield chunk
                        if len(chunk) == local_files.CHUNK_BYTES:
                            attempts.reset()  # on less progress a server could go on byte by byte
                if at < file["size_bytes"]:
                    raise UnreachableError(f"{self._transport.url} ends {file['path']} too early")
            except UnreachableError as exc:
                attempts.pause(exc, patience_s=self._transport.patience_s(exc))
        if digest.hexdigest() != file["sha256"]:
            raise KocoError(
                f"{file['path']} did not arrive unchanged",
                hint="download it again; if that does not help, the data directory is damaged",
            )

    def _too_long(self, file: File) -> AnswerError:
        size = f"{file['path']} has {counted(file['size_bytes'], 'byte')}"
        return AnswerError(
            f"{self._transport.url} sends more than it announced: {size}",
            hint="it is not a control plane, or something before it changes its answers",
        )

    def fetch(self, fid: str, file: File, dest: Path, *, advance: Advance = _nothing) -> None:
        """Download a file: write it next to its destination, verify it, then rename it.

        A partial download of an earlier attempt is reused. An existing file is replaced.
        """
        # Named by its hash, so a partial download of another version is not reused for this one.
        part = dest.with_name(f".{file['sha256'][:32]}.part")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o666), "r+b") as out:
            digest, start = hashlib.sha256(), 0
            while chunk := out.read(local_files.CHUNK_BYTES):
                digest.update(chunk)
                start += len(chunk)
            advance(start)
            try:
                for chunk in self.read(fid, file, start=start, digest=digest):
                    out.write(chunk)
                    advance(len(chunk))
            except UnreachableError:
                raise  # the next attempt resumes here
            except KocoError:
                part.unlink()
                raise
            out.flush()
            os.fsync(out.fileno())
        part.replace(dest)


def _url(fid: str, path: str) -> str:
    return f"/v1/executions/{quote(fid, safe='')}/files/{quote(path)}"


def _require_same(incoming: "Incoming", file: File) -> None:
    if incoming.headers.get("ETag") != f'"{file["sha256"]}"':
        raise ConflictError(
            f"{file['path']} was replaced while it was read", hint="download it again"
        )
