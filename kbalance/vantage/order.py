"""What a worker in the cluster is given: a file that anybody may read, and a folder of secrets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kbalance.model.codec import decode, encode
from kbalance.model.plan import Options
from kbalance.model.target import Facts, Target

REQUEST, CACERT, CERT, KEY = "request.json", "cacert.pem", "cert.pem", "key.pem"
"""Files among the secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run, the same for every worker."""

    target: Target
    facts: Facts
    options: Options
    workers: int
    tls_name: str | None = None
    """The name that is verified; ``None``: the target speaks plain HTTP."""
    insecure: bool = False
    zones: Mapping[str, str] = field(default_factory=dict)
    """Node to zone; empty where no endpoint has a hint, so that zones do not matter."""


def pack(order: Order) -> tuple[bytes, dict[str, bytes]]:
    """The order without what may be secret, and the headers and body, which may be, as a secret file, where there are any."""
    options = order.options
    secrets = {REQUEST: json.dumps(encode((options.headers, options.body))).encode()} if options.headers or options.body else {}
    public = replace(order, options=replace(options, headers=(), body=b""))
    return json.dumps(encode(public), separators=(",", ":")).encode(), secrets


def unpack(public: bytes, secrets: Mapping[str, bytes]) -> Order:
    """The order that was packed."""
    order = decode(Order, json.loads(public))
    if REQUEST not in secrets:
        return order
    headers, body = decode(tuple[tuple[tuple[str, str], ...], bytes], json.loads(secrets[REQUEST]))
    return replace(order, options=replace(order.options, headers=headers, body=body))
