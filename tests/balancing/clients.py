"""The same work done by stock httpx and by our transport, each in a loop of its own."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from kbalance.balancing import AsyncPoolTransport

_CONTEXT = ssl.create_default_context()
"""Made once, since reading the system's authorities takes longer than most tests."""

T = TypeVar("T")
Work = Callable[[httpx.AsyncClient], Awaitable[T]]


def stock(work: Work[T], transport: httpx.AsyncBaseTransport | None = None, *, timeout: float = 10.0) -> T:
    """By httpx as it is."""
    return _run(work, transport or httpx.AsyncHTTPTransport(verify=_CONTEXT, trust_env=False), timeout)


def ours(work: Work[T], transport: httpx.AsyncBaseTransport | None = None, *, timeout: float = 10.0) -> T:
    """By `AsyncPoolTransport`."""
    return _run(work, transport or AsyncPoolTransport(), timeout)


def both(work: Work[T], *, timeout: float = 10.0) -> T:
    """What either gives.

    Raises:
        AssertionError: when they differ.
    """
    expected, got = stock(work, timeout=timeout), ours(work, timeout=timeout)
    assert got == expected
    return got


def _run(work: Work[T], transport: httpx.AsyncBaseTransport, timeout: float) -> T:
    async def main() -> T:
        async with httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
            return await work(client)

    return asyncio.run(main())


@dataclass(frozen=True)
class Seen:
    """What a caller sees of a response."""

    version: str
    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes
    raw_bytes: int


async def seen(response: httpx.Response) -> Seen:
    """The response, read to the end."""
    content = await response.aread()
    assert response.elapsed.total_seconds() > 0
    assert response.is_closed
    assert response.is_stream_consumed
    return Seen(
        response.http_version,
        response.status_code,
        response.reason_phrase,
        tuple(response.headers.raw),
        content,
        response.num_bytes_downloaded,
    )


def failing(work: Work[object]) -> Work[type[Exception]]:
    """The class of the exception that the work ends with."""

    async def caught(client: httpx.AsyncClient) -> type[Exception]:
        try:
            await work(client)
        except Exception as error:
            return type(error)
        raise AssertionError("nothing was raised")

    return caught
