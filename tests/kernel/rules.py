"""The rules that kube-proxy writes for one Service, as text for the tool that loads them; pure.

*Source*: kubernetes/kubernetes `pkg/proxy/iptables/proxier.go` and `pkg/proxy/nftables/proxier.go`, whose names, order
and matches are followed for one TCP port with a cluster address; node ports, firewalls and external addresses are left
out.
"""

from base64 import b32encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

from kbalance.model.target import Address

MASQUERADE_BIT = "0x4000"
"""kube-proxy's default ``iptablesMasqueradeBit``, 14."""

SERVICE_ADDRESS = Address("127.96.0.10", 80)


class Rules(NamedTuple):
    """What to load, and the command that loads it from its standard input."""

    command: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One TCP port of a Service and the endpoints behind it."""

    endpoints: tuple[Address, ...]
    address: Address = SERVICE_ADDRESS
    namespace: str = "ns1"
    name: str = "svc1"
    port_name: str = "p80"
    affinity_s: int | None = None
    """Time-out of ``sessionAffinity: ClientIP``; ``None``: no affinity."""
    cluster_cidr: str = "127.0.0.0/16"
    """Clients outside it are masqueraded, as are endpoints that reach themselves."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port_name}"


def _digest(text: str, length: int) -> str:
    return b32encode(sha256(text.encode()).digest()).decode()[:length]


def service_chain(service: Service) -> str:
    """The iptables chain that picks an endpoint (`portProtoHash` in `pkg/proxy/iptables/proxier.go`)."""
    return f"KUBE-SVC-{_digest(f'{service}tcp', 16)}"


def endpoint_chain(service: Service, endpoint: Address) -> str:
    """The iptables chain that rewrites to one endpoint; also the name of its affinity list."""
    return f"KUBE-SEP-{_digest(f'{service}tcp{endpoint}', 16)}"


def iptables(service: Service) -> Rules:
    """kube-proxy's iptables mode, for ``iptables-restore``; loading it again replaces what was there in one step."""
    lines = [*_filter_table(service), *_nat_head()]
    if service.endpoints:
        lines += _service_rules(service)
    return Rules(("iptables-restore",), "\n".join([*lines, "COMMIT", ""]))


def _filter_table(service: Service) -> list[str]:
    lines = ["*filter", ":KUBE-SERVICES - [0:0]"]
    lines += [f"-A {hook} -m conntrack --ctstate NEW -j KUBE-SERVICES" for hook in ("INPUT", "FORWARD", "OUTPUT")]
    if not service.endpoints:
        lines.append(f"-A KUBE-SERVICES {_comment(f'{service} has no endpoints')} {_to(service)} -j REJECT")
    return [*lines, "COMMIT"]


def _nat_head() -> list[str]:
    return [
        "*nat",
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-POSTROUTING - [0:0]",
        ":KUBE-MARK-MASQ - [0:0]",
        "-A PREROUTING -j KUBE-SERVICES",
        "-A OUTPUT -j KUBE-SERVICES",
        "-A POSTROUTING -j KUBE-POSTROUTING",
        f"-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE_BIT}/{MASQUERADE_BIT} -j RETURN",
        f"-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE_BIT}",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
        f"-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE_BIT}",
    ]


def _service_rules(service: Service) -> list[str]:
    chain, cluster_ip = service_chain(service), _comment(f"{service} cluster IP")
    endpoints = service.endpoints
    lines = [f":{chain} - [0:0]"]
    lines += [f":{endpoint_chain(service, e)} - [0:0]" for e in endpoints]
    lines.append(f"-A KUBE-SERVICES {cluster_ip} {_to(service)} -j {chain}")
    lines.append(f"-A {chain} {cluster_ip} {_to(service)} ! -s {service.cluster_cidr} -j KUBE-MARK-MASQ")
    # Affinity stands before every draw: a client that is remembered must not meet the dice at all.
    if service.affinity_s is not None:
        lines += [_remembered(service, e, service.affinity_s) for e in endpoints]
    lines += [_draw(service, e, left=len(endpoints) - i) for i, e in enumerate(endpoints)]
    return lines + [line for e in endpoints for line in _endpoint_rules(service, e)]


def _remembered(service: Service, endpoint: Address, seconds: int) -> str:
    sep = endpoint_chain(service, endpoint)
    recent = f"-m recent --name {sep} --rcheck --seconds {seconds} --reap"
    return f"-A {service_chain(service)} {_arrow(service, endpoint)} {recent} -j {sep}"


def _draw(service: Service, endpoint: Address, left: int) -> str:
    """The k-th endpoint is taken with probability 1/left, the last one always: together 1/n each."""
    dice = f" -m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
    return f"-A {service_chain(service)} {_arrow(service, endpoint)}{dice} -j {endpoint_chain(service, endpoint)}"


def _endpoint_rules(service: Service, endpoint: Address) -> list[str]:
    sep, comment = endpoint_chain(service, endpoint), _comment(str(service))
    remember = "" if service.affinity_s is None else f" -m recent --name {sep} --set"
    return [
        f"-A {sep} {comment} -s {endpoint.ip} -j KUBE-MARK-MASQ",
        f"-A {sep} {comment}{remember} -m tcp -p tcp -j DNAT --to-destination {endpoint}",
    ]


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _arrow(service: Service, endpoint: Address) -> str:
    return _comment(f"{service} -> {endpoint}")


def _to(service: Service) -> str:
    return f"-m tcp -p tcp -d {service.address.ip} --dport {service.address.port}"


Pick = Callable[[Sequence[str]], str]
"""Names of endpoint chains, in order, to the nftables statement that goes to one of them."""


def at_random(chains: Sequence[str]) -> str:
    """kube-proxy's own: one draw per connection."""
    return f"numgen random mod {len(chains)} {_vmap(map(str, range(len(chains))))(chains)}"


def in_turn(chains: Sequence[str]) -> str:
    """Stands for IPVS ``rr``, which this kernel need not have."""
    return f"numgen inc mod {len(chains)} {_vmap(map(str, range(len(chains))))(chains)}"


def by_source(chains: Sequence[str]) -> str:
    """Stands for IPVS ``sh``: every client address has its endpoint; the seed is fixed so that a test can repeat."""
    return f"jhash ip saddr mod {len(chains)} seed 0x1 {_vmap(map(str, range(len(chains))))(chains)}"


def by_weight(*weights: int, draw: str = "inc") -> Pick:
    """Stands for IPVS ``wrr``, or with ``draw="random"`` for a weighted random balancer; each weight is 1 or more."""
    ends = list(accumulate(weights))
    ranges = [f"{end - w}-{end - 1}" if w > 1 else str(end - 1) for w, end in zip(weights, ends, strict=True)]
    return lambda chains: f"numgen {draw} mod {sum(weights)} {_vmap(ranges)(chains)}"


def _vmap(keys: Iterable[str]) -> Pick:
    wanted = list(keys)
    return lambda chains: f"vmap {{ {', '.join(f'{k} : goto {c}' for k, c in zip(wanted, chains, strict=True))} }}"


def service_base(service: Service) -> str:
    """What the nftables names of a Service end in (`servicePortChainNameBase` in `pkg/proxy/nftables/proxier.go`)."""
    return _with_digest(f"{service.namespace}/{service.name}/tcp/{service.port_name}")


def endpoint_base(service: Service, endpoint: Address) -> str:
    """What the nftables names of an endpoint end in (`servicePortEndpointChainNameBase`)."""
    place = f"{service.namespace}/{service.name}/tcp/{service.port_name}"
    return _with_digest(f"{place}__{endpoint.ip}/{endpoint.port}")


def _with_digest(name: str) -> str:
    return f"{_digest(name, 8)}-{name}"


_NFT_BASE = f"""\
add table ip kube-proxy
flush table ip kube-proxy
add map ip kube-proxy service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
flush map ip kube-proxy service-ips
flush map ip kube-proxy no-endpoint-services
add chain ip kube-proxy nat-prerouting {{ type nat hook prerouting priority -100 ; }}
add chain ip kube-proxy nat-output {{ type nat hook output priority -100 ; }}
add chain ip kube-proxy nat-postrouting {{ type nat hook postrouting priority 100 ; }}
add chain ip kube-proxy filter-input {{ type filter hook input priority -110 ; }}
add chain ip kube-proxy filter-forward {{ type filter hook forward priority -110 ; }}
add chain ip kube-proxy filter-output {{ type filter hook output priority -110 ; }}
add chain ip kube-proxy services
add chain ip kube-proxy masquerading
add chain ip kube-proxy mark-for-masquerade
add chain ip kube-proxy service-endpoints-check
add chain ip kube-proxy reject-chain
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule ip kube-proxy reject-chain reject
add rule ip kube-proxy mark-for-masquerade mark set mark or {MASQUERADE_BIT}
add rule ip kube-proxy masquerading mark and {MASQUERADE_BIT} == 0 return
add rule ip kube-proxy masquerading mark set mark xor {MASQUERADE_BIT}
add rule ip kube-proxy masquerading masquerade fully-random
"""
# Flushing a table empties its chains and leaves its sets: loading again replaces the rules in one step and, as with
# kube-proxy, forgets no client's affinity.


def nftables(service: Service, pick: Pick = at_random) -> Rules:
    """kube-proxy's nftables mode, for ``nft -f``; loading it again replaces what was there in one step."""
    lines = _nft_service(service, pick) if service.endpoints else [_nft_element(service, "no-endpoint-services")]
    return Rules(("nft", "-f", "-"), _NFT_BASE + "\n".join([*lines, ""]))


def _nft_service(service: Service, pick: Pick) -> list[str]:
    chain, bases = f"service-{service_base(service)}", [endpoint_base(service, e) for e in service.endpoints]
    lines = [line for e in service.endpoints for line in _nft_endpoint(service, e)]
    outside = f"ip saddr != {service.cluster_cidr} jump mark-for-masquerade"
    lines.append(f"add chain ip kube-proxy {chain}")
    lines.append(_nft_rule(chain, f"ip daddr {service.address.ip} tcp dport {service.address.port} {outside}"))
    if service.affinity_s is not None:
        lines += [_nft_rule(chain, f"ip saddr @affinity-{b} goto endpoint-{b}") for b in bases]
    lines.append(_nft_rule(chain, pick([f"endpoint-{b}" for b in bases])))
    return [*lines, _nft_element(service, "service-ips")]


def _nft_endpoint(service: Service, endpoint: Address) -> list[str]:
    base = endpoint_base(service, endpoint)
    chain, known = f"endpoint-{base}", f"affinity-{base}"
    lines = [
        f"add chain ip kube-proxy {chain}",
        _nft_rule(chain, f"ip saddr {endpoint.ip} jump mark-for-masquerade"),
    ]
    if service.affinity_s is not None:
        clients = f"{{ type ipv4_addr ; flags dynamic,timeout ; timeout {service.affinity_s}s ; }}"
        lines.append(f"add set ip kube-proxy {known} {clients}")
        lines.append(_nft_rule(chain, f"update @{known} {{ ip saddr }}"))
    return [*lines, _nft_rule(chain, f"meta l4proto tcp dnat to {endpoint}")]


def _nft_rule(chain: str, statement: str) -> str:
    return f"add rule ip kube-proxy {chain} {statement}"


def _nft_element(service: Service, verdicts: str) -> str:
    goto = f"service-{service_base(service)}" if service.endpoints else "reject-chain"
    key = f"{service.address.ip} . tcp . {service.address.port}"
    return f"add element ip kube-proxy {verdicts} {{ {key} : goto {goto} }}"


def sidecar(service: Service, proxy: Address) -> Rules:
    """Connections to the Service go to a proxy instead, unless they are the proxy's own, which it opens from its own address.

    The chain comes before kube-proxy's, and the first one that rewrites a connection decides.
    """
    own = f"ip daddr {service.address.ip} tcp dport {service.address.port} ip saddr != {proxy.ip}"
    lines = ["add table ip sidecar", "delete table ip sidecar", "add table ip sidecar"]
    lines.append("add chain ip sidecar output { type nat hook output priority -150 ; }")
    lines.append(f"add rule ip sidecar output {own} dnat to {proxy}")
    return Rules(("nft", "-f", "-"), "\n".join([*lines, ""]))


def faults(*, refusing: Iterable[Address] = (), black_holed: Iterable[Address] = (), flaky: Iterable[Address] = ()) -> Rules:
    """Pods that answer with a reset, with nothing, or with a reset to three new connections of ten; replaces all faults.

    They stand at INPUT, behind the balancing: one dropped at OUTPUT would be balanced anew on every retransmission.
    """
    lines = ["add table ip faults", "delete table ip faults", "add table ip faults"]
    lines.append("add chain ip faults input { type filter hook input priority 0 ; }")
    verdicts = [(a, "reject with tcp reset") for a in refusing] + [(a, "drop") for a in black_holed]
    verdicts += [(a, "ct state new numgen random mod 10 < 3 reject with tcp reset") for a in flaky]
    lines += [f"add rule ip faults input ip daddr {a.ip} tcp dport {a.port} {verdict}" for a, verdict in verdicts]
    return Rules(("nft", "-f", "-"), "\n".join([*lines, ""]))
