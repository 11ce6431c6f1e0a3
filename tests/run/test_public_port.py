"""The public port: refused when taken, kept while edges come and go."""

import socket
from contextlib import closing

import pytest

from cluster.kernel.errors import PORT_IN_USE, FlowError
from cluster.run.public_port import PublicPort


def listener(port: int, *, shared: bool) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind(("127.0.0.1", port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_that_anyone_listens_on_is_refused(shared: bool) -> None:
    with closing(listener(0, shared=shared)) as other, pytest.raises(FlowError) as caught:
        PublicPort("127.0.0.1", other.getsockname()[1])
    assert caught.value.kind is PORT_IN_USE
    assert "--port" in caught.value.message


def test_a_second_flow_is_refused_even_before_the_first_has_edges() -> None:
    with closing(PublicPort("127.0.0.1", 0)) as held, pytest.raises(FlowError):
        PublicPort("127.0.0.1", held.number)


def test_edges_share_it_and_get_every_connection_while_strangers_are_kept_out() -> None:
    with closing(PublicPort("127.0.0.1", 0)) as held:
        with closing(listener(held.number, shared=True)) as edge:
            with closing(socket.create_connection(("127.0.0.1", held.number), timeout=5)):
                accepted, _ = edge.accept()
                accepted.close()
            with pytest.raises(OSError, match="in use"):
                listener(held.number, shared=False)
        with closing(listener(held.number, shared=True)):
            pass  # an edge that was replaced finds the port still there


def test_an_address_that_is_not_this_machines_is_said() -> None:
    with pytest.raises(FlowError, match="cannot be used"):
        PublicPort("192.0.2.77", 0)
    with pytest.raises(FlowError, match="not an address"):
        PublicPort("no such host", 0)
