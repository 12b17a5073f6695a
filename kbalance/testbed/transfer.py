"""A scenario as text, to hand it to another process; probe options stay behind, as the cluster has no use for them."""

import json
from dataclasses import asdict, replace
from typing import Any

from kbalance.testbed.scenario import ChooserKind, Fault, Front, Identity, PodSpec, ScaleOut, Scenario


def to_json(scenario: Scenario) -> str:
    """The scenario without its options."""
    return json.dumps(asdict(replace(scenario, options={})))


def from_json(text: str) -> Scenario:
    """The scenario that `to_json` wrote."""
    fields: dict[str, Any] = json.loads(text)
    scale_out = fields["scale_out"]
    fields |= {
        "pods": tuple(_pod(pod) for pod in fields["pods"]),
        "front": Front(fields["front"]),
        "chooser": ChooserKind(fields["chooser"]),
        "weights": tuple(fields["weights"]),
        "scale_out": None if scale_out is None else ScaleOut(**scale_out),
    }
    return Scenario(**fields)


def _pod(fields: dict[str, Any]) -> PodSpec:
    return PodSpec(**fields | {"fault": Fault(fields["fault"]), "identity": Identity(fields["identity"])})
