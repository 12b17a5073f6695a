"""Which nodes a pod may run on, as far as its nodeSelector and its required node affinity say. Pure."""

from typing import Any

from kbalance.testbed.objects import Object


def fits(spec: Object, node: Object) -> bool:
    """Whether a pod of that spec may run on the node.

    Source: kubernetes/api `core/v1/types.go`, NodeSelector: terms are alternatives, the requirements in one hold together.
    """
    labels = node["metadata"]["labels"]
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms")
    return spec.get("nodeSelector", {}).items() <= labels.items() and (terms is None or any(_holds(one, node) for one in terms))


def _holds(term: Object, node: Object) -> bool:
    fields = {"metadata.name": node["metadata"]["name"]}
    asked = [(one, node["metadata"]["labels"]) for one in term.get("matchExpressions", ())]
    asked += [(one, fields) for one in term.get("matchFields", ())]
    return bool(asked) and all(_meets(one, values) for one, values in asked)


def _meets(requirement: Any, values: dict[str, str]) -> bool:
    actual = values.get(requirement["key"])
    match requirement["operator"]:
        case "In":
            return actual in requirement["values"]
        case "NotIn":
            return actual not in requirement["values"]
        case "Exists":
            return actual is not None
        case "DoesNotExist":
            return actual is None
    return False
