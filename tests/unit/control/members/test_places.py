"""Where the processes of a control plane listen, and how the others reach them."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from koco.control.members import places
from koco.control.start import Start


def start(**options: object) -> Start:
    given = {"data_dir": "/data", "port": 8400, "url": "http://koco.example", **options}
    return Start(**given)  # type: ignore[arg-type]


@contextlib.contextmanager
def two_ports(host: str) -> Iterator[tuple[int, socket.socket]]:
    """Give a port whose next one is free as well, and a socket that holds it.

    The next one may not be: connections of other tests keep theirs for a minute after their end.
    """
    for _ in range(100):
        with socket.socket() as held:
            held.bind((host, 0))
            held.listen()
            port = held.getsockname()[1]
            try:
                places.bind(host, port + 1)
            except OSError:
                continue
            yield port, held
            return
    pytest.fail("no two free ports in a row")


def test_a_member_listens_on_its_own_node() -> None:
    """On the first one's port, if that is free there; users reach it at the common URL."""
    port = places.bind("127.0.0.1", 0)
    member = places.of_member(start(host="10.1.2.3", port=port), 1, node="127.0.0.1")
    assert (member.host, member.port, member.url) == ("127.0.0.1", port, "http://koco.example")
    assert member.node_url == f"http://127.0.0.1:{port}"
    assert places.api_url(member, node="127.0.0.1") == f"http://127.0.0.1:{port}"


def test_it_leaves_the_first_ones_port_to_it() -> None:
    """On its machine, although that process is away: it comes back, and wants its port."""
    with two_ports("127.0.0.1") as (port, held):
        held.close()
        for host, node in (("127.0.0.1", "127.0.0.1"), ("10.1.2.3", "127.0.0.1")):
            first = start(host=host, port=port, node_url=f"http://127.0.0.1:{port}")
            assert places.of_member(first, 1, node=node).port == port + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_on_the_same_machine_it_takes_another_port(host: str) -> None:
    """The next ones belong to it by its number; if those are in use as well, any."""
    with two_ports(host) as (port, _), socket.socket() as second:
        member = places.of_member(start(host=host, port=port), 1, node="127.0.0.1")
        assert member.host == host
        assert member.port == port + 1
        second.bind((host, port + 1))
        second.listen()
        member = places.of_member(start(host=host, port=port), 1, node="127.0.0.1")
        assert member.port not in (port, port + 1)


def test_processes_reach_each_other_by_an_address_of_the_cluster() -> None:
    """Not by 0.0.0.0, and over TLS if the API speaks it."""
    assert places.api_url(start(host="0.0.0.0"), node="10.0.0.7") == "http://10.0.0.7:8400"
    encrypted = start(host="10.0.0.8", tls_cert="/cert.pem")
    assert places.api_url(encrypted, node="10.0.0.8") == "https://10.0.0.8:8400"
    assert places.api_url(start(host="::"), node="fd00::7") == "http://[fd00::7]:8400"
