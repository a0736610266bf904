"""Bytes sent to a server as they are, and what comes back."""

import re
import socket
from contextlib import suppress
from urllib.parse import urlsplit

_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)


def exchange(url: str, data: bytes) -> bytes:
    """Send `data`, say that nothing follows, and return all that the server sends."""
    address = (urlsplit(url).hostname, urlsplit(url).port)
    received = b""
    with socket.create_connection(address, timeout=30) as connection:
        with suppress(OSError):  # the server has answered and closed before the end
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
    return received


def statuses(received: bytes) -> list[int]:
    """The statuses of all answers, among them 100 Continue."""
    return [int(status) for status in _STATUS.findall(received)]
