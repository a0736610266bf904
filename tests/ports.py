"""Ports for the servers that tests start."""

import random
import socket

# Below the range from which the system takes ports for outgoing connections.
_FIRST, _LAST = 12_000, 22_000
_GRPC_OFFSET = 10_000  # SeaweedFS takes the port this far above each of its own for gRPC
# Not the module's own generator: it is seeded alike in every process that runs tests at a time.
_random = random.SystemRandom()


def find_free_port() -> int:
    """Return a port of this machine that is free, as is the one 10000 above it."""
    while True:
        port = _random.randrange(_FIRST, _LAST)
        try:
            with (
                socket.create_server(("127.0.0.1", port)),
                socket.create_server(("127.0.0.1", port + _GRPC_OFFSET)),
            ):
                return port
        except OSError:
            continue
