"""Block the network in every Python process of the test run; only loopback stays open.

On PYTHONPATH under this name Python imports it at start, kernels and subprocesses included. An
audit hook sees each attempt before a packet leaves, and cannot be taken off again.
"""

import sys

LOOPBACK = {"", "localhost", "ip6-localhost", "::1", "0.0.0.0", "::"}
WATCHED = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}


def is_loopback(address):
    """Whether `address` (a host, a (host, port) pair, a path of a local socket) stays here."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    local = host is None or str(host).startswith(("127.", "/", "\0"))
    return local or str(host) in LOOPBACK


def hook(event, arguments):
    """Refuse what would leave the machine."""
    place = WATCHED.get(event)
    if place is not None and not is_loopback(arguments[place]):
        raise ConnectionRefusedError(f"tests run without network: {event} {arguments[place]!r}")


if not getattr(sys, "_course_offline", False):
    sys._course_offline = True
    sys.addaudithook(hook)
