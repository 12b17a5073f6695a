"""HTTP/1.1 over asyncio streams: a server of one function per request, and one exchange as a client."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from kbalance.model.target import Address
from kbalance.testbed.messages import (
    MAX_HEAD,
    BadMessage,
    Headers,
    Request,
    RequestReader,
    find,
    persists,
    render,
    split_head,
)
from kbalance.testbed.sockets import Port, reset, spawn

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[Request], Awaitable[bytes | AsyncIterator[bytes]]]
"""A request to the bytes of its answer, at once or as they come; they must not say ``Connection: close`` unless it did."""


class Cut(Exception):
    """Raised by an answer that comes in pieces: the connection is to be reset."""


class Server:
    """Listens at an address and answers one request after the other on each connection."""

    def __init__(self, ip: str, answer: Answer, accepted: Callable[[], None] = lambda: None) -> None:
        """Needs a running event loop; `accepted` is called with every new connection."""
        self._answer = answer
        self._accepted = accepted
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = Port(ip)
        self._port.open(self._accept)

    @property
    def address(self) -> Address:
        return self._port.address

    def _accept(self, sock: socket.socket, source: str) -> None:
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._serve)
        spawn(loop.connect_accepted_socket(lambda: protocol, sock))
        self._accepted()

    async def _serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._converse(stream, writer)
        except OSError:
            pass  # the client left; there is nobody to tell
        except Cut:
            _reset(writer)
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader = RequestReader()
        while data := await stream.read(MAX_HEAD):
            for request in reader.feed(data):
                await _send(writer, await self._answer(request))
                if not request.keep_alive:
                    return
            if reader.error is not None:
                writer.write(render(400, reader.error.encode(), [("Connection", "close")]))
                return

    def leave(self) -> None:
        """Cut every connection and refuse new ones."""
        self._port.shut()
        self._abort()

    def come_back(self) -> None:
        """Listen again, at the same address."""
        self._port.open(self._accept)

    def close(self) -> None:
        """Stop, with every connection."""
        self._port.close()
        self._abort()

    def _abort(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    assert isinstance(writer.transport, asyncio.Transport)
    reset(writer.transport)


async def _send(writer: asyncio.StreamWriter, answer: bytes | AsyncIterator[bytes]) -> None:
    if isinstance(answer, bytes):
        writer.write(answer)
        await writer.drain()
        return
    try:
        async for piece in answer:
            writer.write(piece)
            await writer.drain()
    finally:
        await finish(answer)


async def finish(pieces: AsyncIterator[bytes]) -> None:
    """Ends what nobody reads any more, now rather than when its memory is looked for."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()


async def exchange(connection: Connection, method: str, request: bytes) -> tuple[int, Headers, bytes, bool]:
    """Status, headers and body of the answer to one request, and whether the connection can carry another one.

    Raises:
        OSError: when the connection breaks, also before the answer is complete.
        BadMessage: when the answer is not HTTP, or in chunks (pods never send any).
    """
    stream, writer = connection
    writer.write(request)
    await writer.drain()
    try:
        start, headers = split_head((await stream.readuntil(b"\r\n\r\n"))[:-4])
        version, status = _status(start)
        length = find(headers, "content-length")
        bodyless = method == "HEAD" or status in (204, 304)
        body = b"" if bodyless else await (stream.readexactly(int(length)) if length.isdecimal() else stream.read())
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("closed before the answer was complete") from error
    except asyncio.LimitOverrunError as error:
        raise BadMessage("head too large") from error
    return status, headers, body, persists(version, headers) and (bodyless or length.isdecimal())


def _status(start: str) -> tuple[str, int]:
    version, _, rest = start.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise BadMessage(f"bad status line {start[:80]!r}")
    return version, int(rest[:3])
