"""Submit jobs to a Ray cluster elsewhere, through its dashboard and over HTTP only.

The routes are those of Ray's own job client (`ray/dashboard/modules/job`). The token is sent only
if the server identifies itself as Ray and asks for a token.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from koco import __version__
from koco.client import context_file
from koco.cluster import job_python
from koco.errors import KocoError, NotAllowedError, UnauthorizedError, UnreachableError, UsageError

#: Pause between two checks of a job (seconds).
_POLL_S = 0.3
#: How long the dashboard may be unreachable while a job runs (seconds).
_AWAY_S = 20.0
_TIMEOUT_S = 30.0

#: The environment variable that names the function a Ray worker calls first
#: (`ray._private.ray_constants.WORKER_PROCESS_SETUP_HOOK_ENV_VAR`).
_SETUP_HOOK = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

_HINT_TOKEN = (
    "give it with `--ray-token -` (from stdin), RAY_AUTH_TOKEN, or a file in RAY_AUTH_TOKEN_PATH"
)


def find_token() -> str:
    """Return the token that Ray itself would send, or "" if there is none.

    Raises:
        UsageError: the token file cannot be read.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        path = context_file.expand_path(named or "~/.ray/auth_token")
    except UsageError:
        if not named:
            return ""  # no home directory, so there is no token in it
        raise
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        if not named and isinstance(exc, FileNotFoundError):
            return ""
        raise UsageError(f"cannot read Ray's token in {path}: {exc}", hint=_HINT_TOKEN) from exc


class JobClient:
    """A client of the Jobs API of one Ray cluster."""

    def __init__(self, url: str, token: Callable[[], str], *, ca: str = "") -> None:
        """Prepare the connection. `token` is called if the cluster asks for a token.

        `ca` is a file with certificates to trust.
        """
        import httpx

        self.url = url
        self._find_token = token
        self._httpx = httpx
        try:
            self._http = httpx.Client(
                base_url=url,
                # Ray refuses requests that change something if they seem to come from a browser.
                headers={"User-Agent": f"koco/{__version__}"},
                timeout=_TIMEOUT_S,
                verify=_trusting(ca) if ca else True,
            )
        except (ImportError, OSError, ValueError) as exc:
            raise UsageError(f"cannot ask {url}: {exc}") from exc

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def version(self) -> str:
        """Return the cluster's Ray version. Later requests send the token if Ray asks for one.

        Raises:
            UnreachableError: nothing answers.
            UnauthorizedError: the token is missing.
            NotAllowedError: the token is wrong.
            UsageError: the token has characters that no token has.
            KocoError: the server is not Ray.
        """
        mode = self._object(self._call("GET", "/api/authentication_mode", accept=(404,)))
        if mode.get("authentication_mode", "disabled") != "disabled":
            token = self._find_token()
            if not token.isprintable() or not token.isascii():
                raise UsageError("this is not a token: it has invalid characters")
            if token:
                self._http.headers["Authorization"] = f"Bearer {token}"
        version = self._object(self._call("GET", "/api/version")).get("ray_version")
        if not isinstance(version, str):
            raise self._no_ray()
        return version

    def require_package(self, name: str, data: bytes) -> bool:
        """Upload a package if the cluster lacks it. Return whether it was uploaded."""
        path = f"/api/packages/gcs/{name}"
        # This request also makes Ray keep the package for a while, ten minutes by default.
        if self._call("GET", path, accept=(404,)).status_code != 404:
            return False
        self._call("PUT", path, content=data)
        return True

    def submit(self, job: str, entrypoint: str, *, modules: list[str]) -> None:
        """Submit a job. `modules` are URIs of packages and include koco's own.

        The entrypoint finds the path of Ray's Python in the environment variable
        `job_python.PYTHON`.
        """
        body = {
            "submission_id": job,
            "entrypoint": entrypoint,
            "runtime_env": {
                "py_modules": modules,
                "env_vars": {
                    # Otherwise Python looks for modules in Ray's working directory first.
                    "PYTHONSAFEPATH": "1",
                    # Runs in the worker that starts the entrypoint's shell.
                    _SETUP_HOOK: job_python.HOOK,
                },
            },
        }
        self._call("POST", "/api/jobs/", json=body)

    def wait(self, job: str, *, timeout_s: float, on_log: Callable[[str], None]) -> str:
        """Wait until a job has ended and return its log. `on_log` gets the whole log so far.

        Raises:
            KocoError: the job failed, or took longer than `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            about = self._patient(f"/api/jobs/{job}")
            log = self.log(job) if about.get("status") != "PENDING" else ""
            on_log(log)
            if about.get("status") in _ENDED:
                break
            if time.monotonic() > deadline:
                raise KocoError(
                    f"the job {job} has not ended within {timeout_s:g} s: {about.get('status')}",
                    hint=f"{self.url} shows it; repeat the command to continue",
                )
            time.sleep(_POLL_S)
        if about["status"] != "SUCCEEDED":
            raise self._failed(job, about, log)
        return log

    def log(self, job: str) -> str:
        """Return a job's output so far."""
        return str(self._patient(f"/api/jobs/{job}/logs").get("logs") or "")

    def _patient(self, path: str) -> dict[str, Any]:
        """Return the response to a GET. Retries while the dashboard is briefly unreachable."""
        deadline = time.monotonic() + _AWAY_S
        while True:
            try:
                return self._object(self._call("GET", path))
            except UnreachableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)

    def _failed(self, job: str, about: dict[str, Any], log: str) -> KocoError:
        message = str(about.get("message") or "").strip()
        last = [line for line in (log or message).splitlines() if line.strip()][-1:]
        what = f"the job {job} on {self.url} {str(about.get('status', '')).lower()}"
        return KocoError(
            f"{what}: {last[0].strip() if last else 'Ray gives no reason'}",
            hint=f"`ray job logs {job} --address {self.url}` has the details",
        )

    def _call(self, method: str, path: str, *, accept: tuple[int, ...] = (), **more: Any) -> Any:
        with self._translated():
            response = self._http.request(method, path, **more)
        if response.is_success or response.status_code in accept:
            return response
        code, text = response.status_code, response.text.strip()
        if code == 401:
            raise UnauthorizedError(f"Ray at {self.url} requires its token", hint=_HINT_TOKEN)
        if code == 403:
            hint = f"is it this cluster's? {_HINT_TOKEN}"
            raise NotAllowedError(f"Ray at {self.url} does not accept that token", hint=hint)
        if code in (502, 503, 504):
            hint = "is Ray running behind that proxy?"
            raise UnreachableError(f"{self.url} answers {code}: it is not ready", hint=hint)
        if code in (404, 405) or "html" in response.headers.get("content-type", ""):
            raise self._no_ray(f"{code} to {method} {path}")
        last = text.splitlines()[-1] if text else "no reason"
        raise KocoError(f"Ray at {self.url} refuses {method} {path} with {code}: {last}")

    def _object(self, response: Any) -> dict[str, Any]:
        if response.status_code == 404:
            return {}
        try:
            value = json.loads(response.content)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._no_ray()
        return value

    def _no_ray(self, answer: str = "") -> KocoError:
        what = f"{self.url} answers{f' {answer}' if answer else ''}, but is not Ray's dashboard"
        return KocoError(
            what, hint="give `--ray` the URL that `ray start` prints, usually with port 8265"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        url, httpx = self.url, self._httpx
        try:
            yield
        except httpx.TimeoutException as exc:
            what = f"{url} does not answer in time"
            raise UnreachableError(what, hint="is there a firewall in between?") from exc
        except httpx.ConnectError as exc:
            raise UnreachableError(f"no Ray answers at {url}: {exc}", hint=_advice(exc)) from exc
        except httpx.TransportError as exc:
            what = f"the connection to {url} broke: {str(exc) or type(exc).__name__}"
            hint = "does it need https://?" if url.startswith("http://") else _advice(exc)
            raise UnreachableError(what, hint=hint) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise UsageError(f"cannot ask {url}: {exc}") from exc


def _advice(exc: Exception) -> str:
    text = str(exc)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "it does not use TLS: does it need http://?"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "`--ca FILE` names certificates to trust"
    return (
        "is Ray running there, and can this machine reach its dashboard's port?"
        " An SSH tunnel works, too"
    )


def _trusting(ca: str) -> Any:
    import ssl

    trusted = ssl.create_default_context()
    trusted.load_verify_locations(ca)
    return trusted
