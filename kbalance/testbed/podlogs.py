"""What the containers of pods print: kept line by line with its time, and streamed to whoever follows."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from kbalance.testbed.jobfaults import LINES_BEFORE_BREAK
from kbalance.testbed.objects import Object
from kbalance.testbed.statuses import Refusal, bad_request, invalid
from kbalance.testbed.streams import Cut

MAX_LINE = 16 * 1024
"""Bytes; the container runtime breaks longer lines."""

_WAITS = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}


class PodLog:
    """The output of one pod."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, bytes]] = []
        """Unix time and the line with its end; the last one may lack it."""
        self._rest = b""
        self._ended = False
        self._pulse = asyncio.Event()

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._add(line + b"\n")
        while len(self._rest) > MAX_LINE:
            self._add(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]

    def _add(self, line: bytes) -> None:
        self.lines.append((time.time(), line))
        self._wake()

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    def end(self) -> None:
        """Nothing more will come."""
        if self._rest:
            self._add(self._rest)
            self._rest = b""
        self._ended = True
        self._wake()

    async def follow(self) -> AsyncIterator[tuple[float, bytes]]:
        """Every line from the first one on, until the end."""
        at = 0
        while True:
            while at < len(self.lines):
                yield self.lines[at]
                at += 1
            if self._ended:
                return
            await self._pulse.wait()


def refuse_unready(pod: Object, container: str) -> None:
    """Refuse where a container's log cannot be read.

    Raises:
        Refusal: 400, in the words of the real API server.
    """
    name = pod["metadata"]["name"]
    names = [one["name"] for one in pod["spec"]["containers"]]
    if container and container not in names:
        raise bad_request(f"container {container} is not valid for pod {name}")
    for status in pod["status"].get("containerStatuses", ()):
        reason = status["state"].get("waiting", {}).get("reason")
        if reason is not None:
            why = _WAITS.get(reason, reason)
            raise bad_request(f'container "{status["name"]}" in pod "{name}" is waiting to start: {why}')


async def stream(log: PodLog, options: Mapping[str, str], *, broken: bool = False) -> AsyncIterator[bytes]:
    """The part of a log that the options ask for; `broken` cuts it after some lines.

    Raises:
        Cut: instead of the end, when `broken`.
    """
    since, left = _since(options), int(options.get("limitBytes", 0)) or None
    skipped = max(0, len(log.lines) - int(options["tailLines"])) if "tailLines" in options else 0
    sent = 0
    async for written, line in log.follow() if options.get("follow") == "true" else _present(log):
        skipped -= 1
        if skipped >= 0 or written < since:
            continue
        if options.get("timestamps") == "true":
            line = f"{datetime.fromtimestamp(written, UTC).strftime('%Y-%m-%dT%H:%M:%S.%f')}000Z ".encode() + line
        yield line[:left]
        sent += 1
        left = left if left is None else left - len(line)
        if left is not None and left <= 0:
            return
        if broken and sent == LINES_BEFORE_BREAK:
            raise Cut


async def _present(log: PodLog) -> AsyncIterator[tuple[float, bytes]]:
    for line in tuple(log.lines):
        yield line


def _since(options: Mapping[str, str]) -> float:
    if "sinceSeconds" in options:
        return time.time() - int(options["sinceSeconds"])
    try:
        return datetime.fromisoformat(options["sinceTime"]).timestamp() if "sinceTime" in options else 0.0
    except ValueError as error:
        raise bad_request(f"unable to parse sinceTime: {error}") from error


def check(options: Mapping[str, str], name: str) -> None:
    """Refuse options that are not numbers where they should be.

    Raises:
        Refusal: 400 or 422.
    """
    for option in ("limitBytes", "tailLines", "sinceSeconds"):
        value = options.get(option, "1")
        if not value.removeprefix("-").isdecimal():
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        least = 0 if option == "tailLines" else 1
        if int(value) < least:
            raise _too_small(name, option, value, least)
    _since(options)


def _too_small(name: str, option: str, value: str, least: int) -> Refusal:
    bound = "greater than or equal to 0" if least == 0 else "greater than 0"
    return invalid("PodLogOptions", name, [("FieldValueInvalid", option, f"Invalid value: {value}: must be {bound}")])
