"""What differs between two runs or two clusters, replaced by words; and what is of no interest, left out."""

import re
from typing import Any

UNINTERESTING = {
    "managedFields", "images", "nodeInfo", "capacity", "allocatable", "daemonEndpoints", "tolerations",
    "allocatedResources",
    # Only where the controller knows which change of a Pod made it write; on a busy machine it does not always.
    "endpoints.kubernetes.io/last-change-trigger-time",
}  # fmt: skip
NUMBERED = {"remainingItemCount", "count", "port", "containerPort", "generation", "terminationGracePeriodSeconds"}
WORDS = {
    "uid": "UID", "resourceVersion": "VERSION", "continue": "TOKEN", "containerID": "ID", "imageID": "ID",
    "batch.kubernetes.io/controller-uid": "UID", "controller-uid": "UID", "pod-template-hash": "HASH",
}  # fmt: skip
LIBRARY = r"\b[a-z.]+\.io/library/"
"""What a container runtime puts before the name of an official image."""
REPLACEMENTS = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"\b(127|198)\.\d+\.\d+\.\d+\b", "ADDRESS"),
    (r"\b(kb-)?node-?\d\b", "NODE"),
    (LIBRARY, ""),
    (r"used: (\S+)=\d+", r"used: \1=NUMBER"),
    (r"\bzone-[a-z]\b", "ZONE"),
    (r"(failed to resolve reference \S+:).*", r"\1 WHY"),
    (r"\bweb-([0-9a-f]{8,10}|[0-9]+)-?[a-z0-9]*\b", "web-NAME"),
    (r"\bweb-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "web-NAME"),
    (r"\b([a-z][a-z-]*-\d)-[bcdfghjklmnpqrstvwxz2456789]{5}\b", r"\1-XXXXX"),
    (r"(-XXXXX|good|late|bad|many|open)\.[0-9a-f]{16}\b", r"\1.EVENT"),
)


def plain(value: Any, namespace: str, key: str = "") -> Any:
    """The value with placeholders; of a list of objects the first one."""
    if isinstance(value, dict):
        return {k: plain(v, namespace, k) for k, v in value.items() if not _uninteresting(k, v)}
    if isinstance(value, list):
        if key in ("items", "endpoints", "addresses"):
            value = value[:1]
        if any(isinstance(one, dict) and "lastHeartbeatTime" in one for one in value):
            value = [one for one in value if one["type"] == "Ready"]
        return [plain(one, namespace) for one in value]
    if key == "image" and "/" in re.sub(LIBRARY, "", value):
        return "IMAGE"
    if key in WORDS and value:
        return WORDS[key]
    if key in NUMBERED and isinstance(value, int):
        return "NUMBER"
    return _plain_text(value, namespace) if isinstance(value, str) else value


def _uninteresting(key: str, value: Any) -> bool:
    return key in UNINTERESTING or (key == "annotations" and bool(value) and set(value) <= UNINTERESTING)


def _plain_text(text: str, namespace: str) -> str:
    for pattern, word in REPLACEMENTS:
        text = re.sub(pattern, word, text)
    return re.sub(rf"(?<![\w-]){re.escape(namespace)}(?![\w-])", "NAMESPACE", text)
