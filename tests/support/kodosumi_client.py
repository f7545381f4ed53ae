"""A client of the tests that knows nothing but Kodosumi's HTTP API."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


class KodosumiClient:
    """Speaks Kodosumi's API with a key or with the token of a login."""

    def __init__(self, url: str, key: str = "") -> None:
        headers = {"KODOSUMI_API_KEY": key} if key else {}
        # Not verified, because reading certificates would take most of a test's time.
        self.http = httpx.Client(
            base_url=url, headers=headers, trust_env=False, timeout=100, verify=False
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def log_in(self, name: str, password: str) -> dict[str, Any]:
        """Log in, and use the token from now on."""
        answer = self.http.post("/api/login", json={"name": name, "password": password})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        self.http.cookies.clear()
        self.http.headers["KODOSUMI_API_KEY"] = found["KODOSUMI_API_KEY"]
        return found

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of an answer to GET."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Return the JSON of an answer to POST."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def events(self, path: str) -> Iterator[tuple[str, str, str]]:
        """Yield id, kind and data of each event of a stream, to its end."""
        with self.http.stream("GET", path) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = "".join(answer.iter_text())
        for block in text.split("\r\n\r\n"):
            fields = [line.partition(": ") for line in block.split("\r\n") if line]
            if fields:
                data = "\n".join(value for name, _, value in fields if name == "data")
                found = {name: value for name, _, value in fields}
                yield found["id"], found["event"], data

    def upload(self, name: str, chunks: list[bytes], batch: str = "") -> str:
        """Upload a file in chunks, the last one first; return the id of the upload."""
        begin = {"filename": name, "total_chunks": len(chunks), "batch_id": batch or None}
        made: str = self.post("/files/init", begin, status=201)["upload_id"]
        for number, chunk in reversed([*enumerate(chunks)]):
            self.chunk(made, number, chunk)
        return made

    def chunk(self, upload: str, number: int, data: bytes, *, status: int = 201) -> Any:
        """Send a chunk."""
        answer = self.http.post(
            "/files/chunk",
            data={"upload_id": upload, "chunk_number": str(number)},
            files={"chunk": (f"chunk_{number}", data, "application/octet-stream")},
        )
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()


def field_of(batch: str, uploads: dict[str, tuple[str, int]]) -> str:
    """Return the value of a file field: uploads by id, each with its name and number of chunks."""
    items = {each: {"filename": name, "totalChunks": n} for each, (name, n) in uploads.items()}
    return json.dumps({"batchId": batch, "items": items})
