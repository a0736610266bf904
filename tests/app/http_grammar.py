"""Requests made up from the grammars of HTTP and of forms, right in most places, wrong in some."""

import random
from collections.abc import Sequence
from typing import TypeVar

SENTINEL = b"SENTINEL5e9d"  # stands for whatever a visitor sends
_T = TypeVar("_T")

_PATHS = (
    *(b"/", b"/predict", b"/predict", b"/predict", b"/model", b"/docs", b"/openapi.json"),
    *(b"/healthz", b"/readyz", b"/metrics", b"/static/style.css", b"/static/nothing", b"/static/"),
)
_METHODS = (b"GET", b"GET", b"POST", b"POST", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"TRACE")
_HEADERS = (
    *(b"Accept", b"Accept-Language", b"Accept-Encoding", b"User-Agent", b"Cookie", b"Referer"),
    *(b"Authorization", b"X-Request-ID", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded"),
    *(b"Origin", b"Access-Control-Request-Method", b"If-None-Match", b"If-Modified-Since"),
    *(b"Range", b"Connection", b"Upgrade", b"TE", b"Trailer", b"baggage", b"Content-Encoding"),
)
# Those that say where a request ends, or that may be there once.
_FRAMING = (b"Content-Length", b"Transfer-Encoding", b"Expect", b"Host", b"Content-Type")
_VALUES = (
    *(
        b"*/*",
        b"application/json",
        b"text/html;q=0.5, */*;q=x",
        b"de, en;q=0.5",
        b"gzip",
        b"chunked",
    ),
    *(
        b"close",
        b"keep-alive",
        b"100-continue",
        b"bytes=0-",
        b"bytes=5-1,-9",
        b"https",
        b"h2c",
        b"x",
    ),
    *(b"127.0.0.1", b"[::1]:80", b"xn--a", b"Bearer ", b"Basic Og==", b"multipart/form-data"),
    *(b"application/x-www-form-urlencoded", b"Thu, 01 Jan 1970 00:00:00 GMT", b'"tag"', b"1"),
)
_ODD = (
    *(
        b"",
        b" ",
        b"\0",
        b"\r",
        b"\n",
        b"\t",
        b"%00",
        b"%s%n",
        b"{}",
        b"..",
        b"//",
        b"\xff\xfe",
        b"\xc3",
    ),
    *(
        b"-1",
        b"0",
        b"18446744073709551616",
        b"1e9",
        b";",
        b",",
        b'"',
        b"'",
        b"<b>",
        b"=",
        b":",
        b"@",
    ),
)
_DISPOSITIONS = (b"name", b"filename", b"filename*", b"size")


class Grammar:
    """Makes up one request after another from a source of random numbers."""

    def __init__(self, rng: random.Random, photo: bytes) -> None:
        self._rng = rng
        self._photo = photo

    def request(self) -> bytes:
        """One request, or two on one connection, sometimes with some bytes changed."""
        made = self._one()
        if self._perhaps(0.1):
            made += self._one()
        if self._perhaps(0.2):
            made = self._damage(made)
        return made

    def _one(self) -> bytes:
        end = self._one_of((b"\r\n",) * 100 + (b"\n", b"\r"))
        method = self._mostly(self._one_of(_METHODS))
        target = self._mostly(self._one_of(_PATHS)) + self._query()
        version = self._mostly(b"HTTP/1.1", 0.99)
        body, kind = self._body() if method != b"GET" or self._perhaps(0.1) else (b"", [])
        headers = [b"Host: " + self._mostly(b"localhost", 0.98), *kind]
        headers += [self._header() for _ in range(self._rng.choice((0, 1, 2, 3, 5) * 3 + (120,)))]
        framing, body = self._frame(body)
        self._rng.shuffle(headers)
        lines = [b" ".join((method, target, version)), *headers, *framing]
        return end.join([*lines, b"", b""]) + body

    def _query(self) -> bytes:
        fields = [self._word() + b"=" + self._word() for _ in range(self._rng.choice((0, 0, 1, 3)))]
        return b"?" + b"&".join(fields) if fields else b""

    def _header(self) -> bytes:
        name = self._mostly(self._one_of(_FRAMING if self._perhaps(0.05) else _HEADERS))
        return name + self._mostly(b": ", 0.995) + self._mostly(self._one_of(_VALUES), 0.8)

    def _body(self) -> tuple[bytes, list[bytes]]:
        choice = self._rng.randrange(10)
        if choice == 0:
            return self._word() * 50, [b"Content-Type: " + self._word()]
        if choice == 1:
            form = b"image=" + self._word() + b"&stability=" + self._word()
            return form, [b"Content-Type: application/x-www-form-urlencoded"]
        edge = self._mostly(b"edge")
        parts = b"".join(
            self._part(edge) for _ in range(self._rng.choice((0, 1, 1, 1, 2, 11, 120)))
        )
        form = parts + self._mostly(b"--" + edge + b"--\r\n")
        declared = self._mostly(edge)
        return form, [b"Content-Type: multipart/form-data; boundary=" + declared]

    def _part(self, edge: bytes) -> bytes:
        name = self._mostly(b"image", 0.9)
        disposition = b'Content-Disposition: form-data; name="' + name + b'"; filename="a.jpg"'
        if self._perhaps(0.15):
            fields = [
                self._one_of(_DISPOSITIONS) + b'="' + self._word() + b'"'
                for _ in range(self._rng.randrange(4))
            ]
            disposition = b"; ".join([b"Content-Disposition: form-data", *fields])
        lines = [b"--" + edge, disposition]
        if self._perhaps(0.2):
            lines.append(self._header())
        content = self._one_of(
            (
                self._photo,
                self._photo,
                self._photo,
                self._photo[:200],
                self._word() * 20,
                b"true",
                b"",
            )
        )
        return b"\r\n".join([*lines, b"", self._mostly(content), b""])

    def _frame(self, body: bytes) -> tuple[list[bytes], bytes]:
        """Headers that tell how long the body is, and the body as it is sent."""
        length = b"Content-Length: "
        match self._rng.randrange(20):
            case 0:  # another length
                return [length + str(len(body) + self._rng.choice((-3, -1, 1, 500))).encode()], body
            case 1:
                return [length + self._word()], body
            case 2:
                return [], body
            case 3:
                return [length + str(len(body)).encode(), b"Transfer-Encoding: chunked"], body
            case 4 | 5 | 6 | 7 | 8 | 9:
                return [b"Transfer-Encoding: " + self._mostly(b"chunked")], self._chunk(body)
            case _:
                return [length + str(len(body)).encode()], body

    def _chunk(self, body: bytes) -> bytes:
        pieces, step = [], max(1, len(body) // self._rng.choice((1, 2, 5)))
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            size = self._mostly(f"{len(piece):x}".encode())
            if self._perhaps(0.05):
                size += b";" + self._word()
            pieces.append(size + b"\r\n" + piece + self._mostly(b"\r\n", 0.99))
        trailer = self._header() + b"\r\n" if self._perhaps(0.1) else b""
        return b"".join(pieces) + self._mostly(b"0\r\n") + trailer + b"\r\n"

    def _damage(self, made: bytes) -> bytes:
        data = bytearray(made)
        for _ in range(self._rng.randint(1, 3)):
            at = self._rng.randrange(min(len(data), 400) or 1)
            length = self._rng.choice((1, 2, 8, 60))
            match self._rng.randrange(4):
                case 0:
                    data[at : at + length] = self._rng.randbytes(length)
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at:at] = data[at : at + length]
                case _:
                    data[at:at] = self._word()
        return bytes(data)

    def _word(self) -> bytes:
        parts = (SENTINEL, SENTINEL, self._one_of(_ODD), self._one_of(_VALUES))
        word = b"".join(self._one_of(parts) for _ in range(self._rng.choice((1, 1, 2, 4))))
        return word * self._rng.choice((1,) * 30 + (20, 700))

    def _mostly(self, right: bytes, share: float = 0.97) -> bytes:
        return right if self._perhaps(share) else self._word()

    def _perhaps(self, share: float) -> bool:
        return self._rng.random() < share

    def _one_of(self, choices: Sequence[_T]) -> _T:
        return self._rng.choice(choices)
