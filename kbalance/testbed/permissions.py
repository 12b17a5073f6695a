"""Who may do what: one user, ``embedded``, who may do everything until told otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from kbalance.testbed.resources import Resource
from kbalance.testbed.statuses import forbidden

USER = "embedded"

Rule = Mapping[str, Any]
"""As in a Role: ``apiGroups``, ``resources``, ``verbs`` and optionally ``resourceNames``; ``*`` stands for all."""

EVERYTHING: Rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


class Permissions:
    """What the user may do."""

    def __init__(self) -> None:
        self._rules: Sequence[Rule] = (EVERYTHING,)
        self._denied: set[tuple[str, str]] = set()

    def deny(self, verb: str, resource: str) -> None:
        """Take one verb on one resource (``pods``, ``pods/log``) away; it comes back with the next `allow_only`."""
        self._denied.add((verb, resource))

    def allow_only(self, rules: Sequence[Rule]) -> None:
        """Have exactly these rules."""
        self._rules = tuple(rules)
        self._denied.clear()

    def check(self, verb: str, resource: Resource, subresource: str, namespace: str | None, name: str) -> None:
        """Refuse what is not allowed.

        Raises:
            Refusal: 403, with the words of the real API server.
        """
        plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
        if (verb, plural) not in self._denied and any(_allows(rule, verb, resource.group, plural, name) for rule in self._rules):
            return
        # The real server counts a namespace as within itself.
        inside = name if resource.plural == "namespaces" and name else namespace
        where = "at the cluster scope" if inside is None else f'in the namespace "{inside}"'
        what = f'cannot {verb} resource "{plural}" in API group "{resource.group}" {where}'
        raise forbidden(resource, name, f'User "{USER}" {what}')


def _allows(rule: Rule, verb: str, group: str, plural: str, name: str) -> bool:
    names = rule.get("resourceNames")
    return (
        {verb, "*"} & set(rule["verbs"]) != set()
        and {group, "*"} & set(rule["apiGroups"]) != set()
        and {plural, "*"} & set(rule["resources"]) != set()
        and (not names or name in names)
    )
