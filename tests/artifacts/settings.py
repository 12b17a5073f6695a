"""Settings that the texts are filled in with."""

from collections.abc import Sequence
from dataclasses import replace

from kbalance.analysis.artifacts import Setting
from tests.artifacts.pods import Pod

WEB = Setting(
    service="web",
    namespace="shop",
    port=80,
    port_name="http",
    target_port="http",
    endpoint_port=8080,
    selector=(("app", "web"), ("app.kubernetes.io/part-of", "shop")),
    owner="web",
    node="node-1",
    internal_traffic_policy_local=True,
    traffic_distribution="PreferClose",
    topology_annotation="service.kubernetes.io/topology-mode",
)
"""Everything is known, and every text is wanted."""
BARE = Setting(service="web", namespace="shop", port=80)
"""What is there before anything was read."""
URL = Setting(service="shop.example.com", namespace=None, port=443, scheme="https")

HOSTILE = (
    "it's",
    'a"b',
    "$(reboot)`reboot`",
    "x\ny: z",
    "${HOME} {{port}}",
    "*/ } ; // #",
    "\\",
    "\\u000a\\",
    "a\u2028b\x1b[31m\x00",
    "fd00::1",
    "[fd00::1]",
    "bücher.example",
    "${{{",
)


def hostile(name: str) -> Setting:
    """A URL's host may be anything that somebody typed; so may, for once, everything else that is a string."""
    return Setting(service=name, namespace=None, port=8080, scheme="http")


def hostile_service(name: str) -> Setting:
    """The API lets no such names through, except in selectors."""
    return replace(WEB, service=name, port_name=name, target_port=name, selector=((name, name),), owner=name)


def at(pods: Sequence[Pod], **changes: object) -> Setting:
    """The Service in front of pods on loopback; lifetimes are short, as a test is."""
    setting = Setting(service="web", namespace="shop", port=80, endpoint_port=pods[0].port, lifetime_s=0.2, refresh_s=30.0)
    return replace(setting, **changes)  # type: ignore[arg-type]
