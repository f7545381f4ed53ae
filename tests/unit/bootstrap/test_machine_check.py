"""What `koco up` prepares: the head's looks, options put together, the package, the nodes' door."""

import asyncio
import importlib.metadata
import io
import socket
import ssl
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from koco.api.node_app import only_for_nodes
from koco.bootstrap import job, machine_check, package
from koco.cli.cluster import options
from koco.client import probe
from koco.client.context_file import Context
from koco.client.transport import Transport
from koco.control.deploy import checks
from koco.control.members import places
from koco.errors import UnreachableError, UsageError
from koco.versions import DISTRIBUTION
from tests.support.certificates import make_certificate
from tests.support.dashboard import Ray, Server
from tests.support.releases import manifest

# the head


def test_creates_and_tries_the_data_directory(tmp_path: Path) -> None:
    """It belongs to its user alone. An error names it and its machine."""
    made = machine_check.folder(str(tmp_path / "a" / "b"))
    assert stat.S_IMODE(Path(made).stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=socket.gethostname()) as caught:
        machine_check.folder(str(tmp_path / "file" / "data"))
    assert "--data-dir" in str(caught.value.hint)
    with pytest.raises(UsageError, match="not an absolute path"):
        machine_check.folder("data")


def test_tries_a_certificate_with_its_key(tmp_path: Path) -> None:
    """Half a pair, a missing file and a mismatch are found before anything starts."""
    (tmp_path / "other").mkdir()
    cert, key = map(str, make_certificate(tmp_path))
    _, strange = map(str, make_certificate(tmp_path / "other"))
    assert machine_check.tls(None, None) == (None, None)
    assert machine_check.tls(cert, key) == (cert, key)
    for pair, says in (
        ((cert, None), "--tls-key is missing"),
        ((None, key), "--tls-cert is missing"),
        ((cert, f"{key}.no"), "cannot read"),
        ((cert, strange), "do not match"),
        ((key, cert), "do not match"),
    ):
        with pytest.raises(UsageError, match=says):
            machine_check.tls(*pair)


def test_tries_an_address() -> None:
    """A taken port and an address that is not the head's have different errors."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="is in use") as caught:
            machine_check.require_free("127.0.0.1", port)
        assert "--port" in str(caught.value.hint)
    machine_check.require_free("127.0.0.1", port)
    with pytest.raises(UsageError) as caught:
        machine_check.require_free("192.0.2.1", port)
    assert "--host" in str(caught.value.hint)


def test_nodes_get_their_own_listener_if_needed() -> None:
    """They use plain HTTP at the head's address, unless the API serves that already."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    shared = {"node": "127.0.0.1", "is_encrypted": False}
    assert places.for_nodes("127.0.0.1", port, **shared) == (
        f"http://127.0.0.1:{port}",
        False,
    )
    assert places.for_nodes("0.0.0.0", port, **shared) == (f"http://127.0.0.1:{port}", False)
    for node in _addresses()[:1]:
        # On the head's loopback, and nodes are elsewhere: the same port of another address.
        elsewhere = places.for_nodes("127.0.0.1", port, node=node, is_encrypted=False)
        assert elsewhere == (f"http://{node}:{port}", True)
    url, is_apart = places.for_nodes("127.0.0.1", port, node="127.0.0.1", is_encrypted=True)
    assert is_apart
    assert url.startswith("http://127.0.0.1:")
    assert url != f"http://127.0.0.1:{port}"
    assert (
        places.for_nodes("::1", port, node="::1", is_encrypted=False)[0] == f"http://[::1]:{port}"
    )


def _addresses() -> list[str]:
    """Return this machine's addresses that are no loopback's."""
    return [
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family == socket.AF_INET and not each.address.startswith("127.")
    ]


def test_a_resource_for_further_processes_needs_further_ones() -> None:
    """One that was asked for an earlier control plane counts no more, and does no harm."""
    with pytest.raises(UsageError, match="there is only one") as caught:
        machine_check.processes(None, "", asked_on="koco-api")
    assert "`--api 3`" in str(caught.value.hint)
    assert machine_check.processes(3, "postgresql://db/koco", asked_on="koco-api") == 3
    assert machine_check.processes(1, "") == 1


# what was asked

DEFAULTS = {"host": "127.0.0.1", "port": 8400, "data_dir": "/d"}


def wanted(asked: dict[str, Any], here: dict[str, Any] | None = None) -> options.Wanted:
    return options.combine(asked, here or {}, DEFAULTS, reached_at="127.0.0.1")


def test_requested_options_are_remembered_and_can_be_reset() -> None:
    """Flags become defaults of the next `koco up`; an empty value resets one."""
    first = wanted({"data_dir": "/x", "tls_cert": "/c", "tls_key": "/k"})
    assert first.all["url"] == "https://127.0.0.1:8400"
    assert first.kept == {"data_dir": "/x", "tls_cert": "/c", "tls_key": "/k", "api": 8400}
    again = wanted({}, first.kept)
    assert again.asked == {}, "one that runs is left as it is"
    assert again.all == first.all
    back = wanted(options.check({"data_dir": "", "tls_cert": ""}, is_here=True), first.kept)
    assert back.all["data_dir"] == "/d"
    assert back.all["url"] == "http://127.0.0.1:8400"
    assert back.kept == {"api": 8400}


def test_the_nodes_of_further_processes_are_remembered_and_can_be_reset() -> None:
    """By a resource's name, and nothing else."""
    first = wanted(options.check({"api": 3, "api_on": "koco-api"}, is_here=True))
    again = wanted({}, first.kept)
    assert (again.asked, again.all["api_on"]) == ({}, "koco-api")
    back = wanted(options.check({"api_on": ""}, is_here=True), first.kept)
    assert (back.asked["api_on"], back.kept["processes"]) == (None, 3)
    assert "processes_on" not in back.kept
    with pytest.raises(UsageError, match="is not the name of a resource"):
        options.check({"api_on": "node:10.0.0.1"}, is_here=True)


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        ({}, "http://127.0.0.1:8400"),
        ({"host": "0.0.0.0", "port": 9000}, "http://127.0.0.1:9000"),
        ({"host": "10.0.0.1"}, "http://10.0.0.1:8400"),
        ({"host": "fd00::1"}, "http://[fd00::1]:8400"),
        ({"url": "https://koco.example.com", "port": 9000}, "https://koco.example.com"),
    ],
)
def test_the_url_follows_the_address_unless_set(asked: dict[str, Any], url: str) -> None:
    """It counts as requested if an option that moves it is."""
    found = wanted(asked)
    assert found.all["url"] == url
    assert ("url" in found.asked) == bool(asked)


def test_checks_options_before_anything_starts(tmp_path: Path) -> None:
    """Ports, URLs, and files with certificates."""
    for asked, says in (
        ({"port": 0}, "0 is not a port"),
        ({"port": 65536}, "65536 is not a port"),
        ({"url": "koco.example.com"}, "--public-url"),
    ):
        with pytest.raises(UsageError, match=says):
            options.check(asked, is_here=True)
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="has no certificates"):
        options.check_ca(str(tmp_path / "no.pem"))
    assert options.check({"tls_cert": "c.pem"}, is_here=False) == {"tls_cert": "c.pem"}
    assert Path(options.check({"tls_cert": "c.pem"}, is_here=True)["tls_cert"]).is_absolute()


# what travels


def test_the_package_is_named_by_its_content() -> None:
    """Equal code gives equal bytes. It can be imported, and has its requirements."""
    name, data = package.of_koco()
    assert (name, data) == package.of_koco()
    files = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert {"koco/__init__.py", "koco/bootstrap/job.py", "koco/control/process.py"} <= set(files)
    assert not [file for file in files if not file.startswith(("koco/", "koco_deploy-"))]
    assert [file for file in files if file.endswith(".dist-info/METADATA")]
    assert "2.60" in package.ray_bounds()


def test_finds_missing_packages_by_name_and_version() -> None:
    """Ray itself and development packages are not checked."""
    have = importlib.metadata.version("msgspec")
    assert job.missing_packages(
        [
            f"msgspec=={have}",
            "msgspec>=999",
            "no-such-package-of-koco>=1,<2",
            "ray[default,serve]>=999; extra == 'ray'",
            "no-such-server; extra == 'ray'",
            "no-such-linter; extra == 'dev'",
        ]
    ) == ["msgspec>=999", "no-such-package-of-koco<2,>=1", "no-such-server"]
    assert job.missing_packages(importlib.metadata.requires(DISTRIBUTION) or []) == [], (
        "this one has all"
    )


def test_installs_psycopg_where_the_store_is_a_database() -> None:
    """With its extras, so that nothing is compiled there. Others do without."""
    lacking = ["no-such-driver[binary]>=3; extra == 'postgresql'", "no-such; extra == 'ray'"]
    assert job.missing_packages(lacking) == ["no-such"]
    url = "postgresql://koco@db/koco"
    for options_ in ({"asked": {"store": url}}, {"defaults": {"store": url}}):
        extras = job.extras_of(options_)
        assert job.missing_packages(lacking, extras) == ["no-such-driver[binary]>=3", "no-such"]
    assert job.extras_of({"defaults": {"store": url}, "asked": {"store": ""}}) == {"ray"}


def test_installs_obstore_where_blobs_are_in_a_bucket() -> None:
    """A directory needs nothing more."""
    lacking = ["no-such-client>=1; extra == 's3'"]
    extras = job.extras_of({"asked": {"blobs": "s3://bucket/koco"}})
    assert job.missing_packages(lacking, extras) == ["no-such-client>=1"]
    assert job.extras_of({"asked": {"blobs": "/mnt/shared"}}) == {"ray"}


def test_a_store_is_a_file_or_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database needs psycopg on the head; the error says how to install it."""
    url = "postgresql://koco@db/koco"
    assert machine_check.store(None) == ""
    assert machine_check.store(url) == url
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs psycopg") as caught:
        machine_check.store(url)
    assert "koco-deploy[postgresql]" in (caught.value.hint or "")
    assert machine_check.store("") == ""


def test_refuses_an_app_if_rays_serve_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hint says what to install. A service without an app is accepted."""

    def found(app: str | None) -> list[Any]:
        return asyncio.run(checks.check_serve(None, manifest(app=app)))  # type: ignore[arg-type]

    assert found("mine:app") == [], "this one has it"
    monkeypatch.setitem(sys.modules, "fastapi", None)  # as where it is not installed
    assert found(None) == []
    [finding] = found("mine:app")
    assert "ray[serve]" in (finding.hint or "")
    assert finding.path == ("app",)


# trust


def test_trusts_a_contexts_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For that context only; if they are missing, the error names them.

    SSL_CERT_FILE does so without a context, for a tunnel's loopback as well.
    """
    cert, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    server = Server(Ray(), lambda *_: (200, {"fine": True}), tls)
    try:
        context = Context("theirs", server.url, "koco_key", ca=str(cert))
        assert Transport(context).json("GET", "/v1/status", Any) == {"fine": True}
        with pytest.raises(UnreachableError) as caught:
            Transport(context._replace(ca="")).json("GET", "/v1/status", Any)
        assert "--ca FILE" in str(caught.value.hint)
        with pytest.raises(UsageError, match="cannot read the context's certificates"):
            Transport(context._replace(ca=str(tmp_path / "gone.pem")))
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert Transport(context._replace(ca="")).json("GET", "/v1/status", Any) == {"fine": True}
        found = {each.name: each.status for each in probe.way(context._replace(ca=""))}
        assert found["tls"] != "failed"  # it ends soon
    finally:
        server.close()


# the nodes' door


@pytest.mark.parametrize(
    ("method", "path", "authorization", "passes"),
    [
        ("GET", "/bundles/signature/digest.zip", "", True),
        ("POST", "/bundles/signature/digest.zip", "", False),
        ("GET", "/v1/values", "Bearer kocor_svc_1_signature", True),
        ("POST", "/v1/values", "Bearer kocor_svc_1_signature", False),
        ("GET", "/v1/secrets", "Bearer kocor_svc_1_signature", False),
        ("GET", "/v1/executions/fid/files", "Bearer kocof_fid_signature", True),
        ("GET", "/v1/executions/fid/files", "Bearer koco_a-key", False),
        ("GET", "/v1/status", "Bearer koco_a-key", False),
        ("GET", "/health", "", False),
    ],
)
def test_the_listener_for_nodes_serves_only_nodes(
    method: str, path: str, authorization: str, passes: bool
) -> None:
    """Bundles by signed URL, files by a flow's token, secrets; never a key."""
    assert asyncio.run(_asked(method, path, authorization)) == (200 if passes else 404)


async def _asked(method: str, path: str, authorization: str) -> int:
    sent: list[dict[str, Any]] = []

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", authorization.encode())] if authorization else []
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await only_for_nodes(app)(scope, None, send)
    status: int = sent[0]["status"]
    return status
