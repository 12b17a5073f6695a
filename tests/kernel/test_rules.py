"""The text of the rules, checked against what kube-proxy's own unit tests expect of it.

Names of Services are kube-proxy's own. Its tests' endpoints lie in a private network, so those here have other addresses,
and what their names hash to was worked out with ``printf %s TEXT | openssl dgst -sha256 -binary | base32``.
"""

from collections.abc import Callable

import pytest

from kbalance.model.target import Address

from . import rules

POD = Address("198.18.0.1", 80)


def _service(pods: int, affinity_s: int | None = None) -> rules.Service:
    endpoints = tuple(Address(f"198.18.0.{i}", 80) for i in range(1, pods + 1))
    return rules.Service(endpoints=endpoints, address=Address("198.18.1.41", 80), affinity_s=affinity_s)


def test_iptables_chains_are_named_as_kube_proxy_names_them() -> None:
    """*Source*: ``ns1/svc1:p80`` in `TestOverallIPTablesRules`, `pkg/proxy/iptables/proxier_test.go`."""
    service = _service(1)

    names = (rules.service_chain(service), rules.endpoint_chain(service, POD))

    assert names == ("KUBE-SVC-XPGD46QRK7WJZT7O", "KUBE-SEP-OS5W3LOP4DIEV5NE")


def test_the_api_server_service_has_the_chain_seen_on_every_cluster() -> None:
    service = rules.Service(endpoints=(), namespace="default", name="kubernetes", port_name="https")

    assert rules.service_chain(service) == "KUBE-SVC-NPX46M4PTMTKRN6Y"


def test_nftables_chains_are_named_as_kube_proxy_names_them() -> None:
    """*Source*: the comments on `servicePortChainNameBase` and `servicePortEndpointChainNameBase`."""
    service = _service(1)

    names = (rules.service_base(service), rules.endpoint_base(service, POD))

    assert names == ("ULMVA6XW-ns1/svc1/tcp/p80", "YZR5BUSD-ns1/svc1/tcp/p80__198.18.0.1/80")


def test_iptables_draws_among_those_that_are_left() -> None:
    text = rules.iptables(_service(3)).text

    draws = [line.split("--probability ")[1].split()[0] for line in text.splitlines() if "--probability" in line]

    assert draws == ["0.3333333333", "0.5000000000"]


def test_iptables_asks_for_a_remembered_client_before_it_draws() -> None:
    lines = rules.iptables(_service(3, affinity_s=10800)).text.splitlines()

    chosen = [line for line in lines if line.startswith("-A KUBE-SVC-") and "-j KUBE-SEP-" in line]

    assert ["--rcheck --seconds 10800 --reap" in line for line in chosen] == [True] * 3 + [False] * 3


def test_nftables_draws_once() -> None:
    """*Source*: the rules of svc1 in `pkg/proxy/nftables/proxier_test.go`."""
    text = rules.nftables(_service(1)).text

    wanted = (
        "add rule ip kube-proxy service-ULMVA6XW-ns1/svc1/tcp/p80 "
        "numgen random mod 1 vmap { 0 : goto endpoint-YZR5BUSD-ns1/svc1/tcp/p80__198.18.0.1/80 }"
    )
    assert wanted in text.splitlines()


@pytest.mark.parametrize(
    ("pick", "wanted"),
    [
        (rules.at_random, "numgen random mod 3 vmap { 0 : goto a, 1 : goto b, 2 : goto c }"),
        (rules.in_turn, "numgen inc mod 3 vmap { 0 : goto a, 1 : goto b, 2 : goto c }"),
        (rules.by_source, "jhash ip saddr mod 3 seed 0x1 vmap { 0 : goto a, 1 : goto b, 2 : goto c }"),
        (rules.by_weight(3, 2, 1), "numgen inc mod 6 vmap { 0-2 : goto a, 3-4 : goto b, 5 : goto c }"),
        (rules.by_weight(2, 1, 1, draw="random"), "numgen random mod 4 vmap { 0-1 : goto a, 2 : goto b, 3 : goto c }"),
    ],
)
def test_picks_cover_every_number_that_can_be_drawn(pick: rules.Pick, wanted: str) -> None:
    assert pick(["a", "b", "c"]) == wanted


@pytest.mark.parametrize("write", [rules.iptables, rules.nftables])
def test_a_service_without_endpoints_rejects_and_rewrites_nothing(write: Callable[[rules.Service], rules.Rules]) -> None:
    text = write(_service(0)).text

    assert ("reject" in text.lower(), "dnat to" in text, "-j DNAT" in text) == (True, False, False)
