"""The public port: checked before anything starts, then kept for the edges as long as Flow runs.

The supervisor holds a socket that is bound with SO_REUSEPORT and never listens: the kernel sends it no connection, but
no other program can take the port while an edge is being replaced. Edges bind the same port with SO_REUSEPORT.
"""

import socket

from cluster.kernel.errors import PORT_IN_USE, SETTINGS_INVALID, FlowError


class PublicPort:
    """Holds `host:port` until closed. Port 0 takes any free one; `number` tells which."""

    def __init__(self, host: str, port: int) -> None:
        family = _family(host)
        _check_free(family, host, port)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise _refused(host, port, error) from error
        self.host = host
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


def free_port() -> int:
    """A port of loopback that nobody listens on now; for a program that cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.AddressFamily(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0])
    except socket.gaierror as error:
        raise FlowError(SETTINGS_INVALID, f"flow.host is {host!r}, which is not an address of this machine.") from error


def _check_free(family: socket.AddressFamily, host: str, port: int) -> None:
    """A plain bind fails where a shared one would join another Flow's edges."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _refused(host, port, error) from error


def _refused(host: str, port: int, error: OSError) -> FlowError:
    if isinstance(error, PermissionError):
        return FlowError(PORT_IN_USE, f"Port {port} may not be used by this user. Choose one above 1023 with --port.")
    return FlowError(
        PORT_IN_USE, f"Port {port} of {host} cannot be used: {error.strerror}. Choose another with --port."
    )
