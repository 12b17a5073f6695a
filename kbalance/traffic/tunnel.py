"""Who listens on a loopback port: a tunnel such as ``kubectl port-forward`` leads to one Pod, whatever the Service does.

Source: proc(5), /proc/net/tcp and /proc/PID/fd; other systems than Linux do not tell.
"""

import os
import re
import socket
import struct
from collections.abc import Iterator

from kbalance.model.target import Address

LISTEN = "0A"
MOST_PROCESSES = 20_000
"""Looked at; their command lines take a second at most."""

_TOOL = re.compile(r"(?:.*/)?(?:kubectl|oc)(?:\.exe)?")
_VERBS = ("port-forward", "proxy")
_RESOURCE = re.compile(r"(?:[a-z.]+/)?[a-z0-9][a-z0-9.-]*")


def listener(address: Address) -> str | None:
    """The tunnel that listens at an address of this machine, for example ``kubectl port-forward svc/web``; ``None``: none known.

    Of the command line only the tool, the verb and the resource are given: other words may be credentials.
    """
    sockets = {f"socket:[{inode}]" for inode in _inodes(address)}
    if not sockets:
        return None
    return next((tunnel for pid in _processes() if (tunnel := _tunnel(pid)) and not sockets.isdisjoint(_open(pid))), None)


def _inodes(address: Address) -> Iterator[str]:
    """Of the sockets that listen at this address, or at all of this machine's if it is a loopback one."""
    wanted = {_hex(ip) for ip in (address.ip, *(("0.0.0.0", "::") if _is_loopback(address.ip) else ()))}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        for row in rows:
            ip, _, port = row[1].partition(":")
            if row[3] == LISTEN and int(port, 16) == address.port and ip in wanted:
                yield row[9]


def _is_loopback(ip: str) -> bool:
    return ip == "::1" or ip.startswith("127.")


def _hex(ip: str) -> str:
    """An address as the kernel prints it: words of 32 bits in the machine's own byte order."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdecimal()][:MOST_PROCESSES]
    except OSError:
        return []


def _tunnel(pid: str) -> str | None:
    """The telling words of a process that is a tunnel into a cluster."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [word.decode("utf-8", "replace") for word in file.read().split(b"\0")]
    except OSError:
        return None
    # The tool comes first, or second where an interpreter or a bundle such as `k3s kubectl` runs it.
    at = next((i for i, word in enumerate(words[:2]) if _TOOL.fullmatch(word)), None)
    if at is None:
        return None
    verb = next((i for i, word in enumerate(words) if i > at and word in _VERBS), None)
    if verb is None:
        return None
    resource = _resource(words[verb + 1 :]) if words[verb] == "port-forward" else None
    return " ".join(filter(None, (os.path.basename(words[at]), words[verb], resource)))


def _resource(words: list[str]) -> str | None:
    """The first word that can be nothing else: what follows an option without ``=`` may be that option's value."""
    free = (word for before, word in zip(["", *words], words, strict=False) if not before.startswith("-") or "=" in before)
    return next((word for word in free if _RESOURCE.fullmatch(word) and not word.isdecimal()), None)


def _open(pid: str) -> Iterator[str]:
    """What the process's descriptors are; nothing where they are another user's."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")
        except OSError:
            continue
