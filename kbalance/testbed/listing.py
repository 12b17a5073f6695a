"""Lists: selected, in pages, whole or as metadata only."""

import base64
import binascii
import copy
import json
from collections.abc import Mapping
from typing import Any

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import Resource
from kbalance.testbed.selectors import check, selected
from kbalance.testbed.statuses import bad_request, expired
from kbalance.testbed.store import Store, key_of


def list_of(store: Store, resource: Resource, namespace: str | None, options: Mapping[str, str]) -> Object:
    """The list that the options select, or a page of it.

    Raises:
        Refusal: 400 for a selector or a token that cannot be read, 410 for a token that is too old.
    """
    labels, fields = options.get("labelSelector", ""), options.get("fieldSelector", "")
    check(resource, labels, fields)
    version, start = _resume(store, options.get("continue", ""))
    found = [one for one in store.of(resource, namespace) if selected(resource, one, labels, fields)]
    rest = [one for one in found if _start_of(one, namespace) >= start]
    limit = _limit(options.get("limit", ""))
    page = rest[:limit] if limit else rest
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if len(page) < len(rest):
        metadata["continue"] = _token(version, _start_of(page[-1], namespace) + "\0")
        # Counted only where nothing is selected, as by the real server.
        if not labels and not fields:
            metadata["remainingItemCount"] = len(rest) - len(page)
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": copy.deepcopy(page),
    }


def _limit(text: str) -> int:
    if text and not text.isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text or 0)


def _start_of(found: Object, namespace: str | None) -> str:
    space, name = key_of(found)
    return name if namespace is not None or not space else f"{space}/{name}"


def _token(version: int, start: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _resume(store: Store, token: str) -> tuple[int, str]:
    """The version of the list that the token continues, and where; without a token, the beginning of a new one."""
    if not token:
        return store.version, ""
    try:
        fields = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start = int(fields["rv"]), str(fields["start"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    if 0 <= version <= store.compacted:
        raise expired(_token(-1, start))
    return (version if version >= 0 else store.version), start


def metadata_only(value: Object) -> Object:
    """An object or a list of them as PartialObjectMetadata.

    Source: Kubernetes API concepts, "Metadata-only fetches".
    """
    if "items" in value:
        items = [metadata_only(one) for one in value["items"]]
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": value["metadata"],
            "items": items,
        }
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}
