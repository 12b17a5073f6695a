"""Objects that clients create: read, checked and completed as by the real API server."""

import base64
import binascii
import json
import re
import uuid
from typing import Any

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import CONFIG_MAPS, JOBS, SECRETS, Resource
from kbalance.testbed.statuses import Cause, bad_request, invalid

_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    f"an alphanumeric character (e.g. 'example.com', regex used for validation is '{_NAME}')"
)
MAX_DATA = 1024 * 1024
"""Bytes in a ConfigMap or a Secret."""


def parsed(resource: Resource, body: bytes, namespace: str) -> Object:
    """The object in a request's body, without its kind.

    Raises:
        Refusal: 400 when it is not JSON, of another kind or for another namespace; 422 when it is not valid.
    """
    found = _read(resource, body)
    metadata = found.setdefault("metadata", {})
    if metadata.get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = namespace
    if resource is SECRETS:
        _encode_secret(found)
    causes = [*_name_causes(metadata.get("name", "")), *_content_causes(resource, found)]
    if causes:
        raise invalid(resource.kind, metadata.get("name", ""), causes, resource.group)
    return found


def _read(resource: Resource, body: bytes) -> Object:
    unrecognized = f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
    try:
        found = json.loads(body)
    except ValueError as error:
        raise bad_request(f"{unrecognized}; json parse error: {error} ({body[:64].hex()})") from error
    if not isinstance(found, dict):
        raise bad_request(f"{unrecognized}; json parse error: json: cannot unmarshal into an object ({body[:64].hex()})")
    kind, version = found.pop("kind", resource.kind), found.pop("apiVersion", resource.api_version)
    if (kind, version) != (resource.kind, resource.api_version):
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
            f"converting ({version}.{kind}) to (core.{resource.kind}): unknown conversion"
        )
    return found


def _encode_secret(secret: Object) -> None:
    plain = {key: base64.b64encode(value.encode()).decode() for key, value in secret.pop("stringData", {}).items()}
    try:
        for value in secret.get("data", {}).values():
            base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise bad_request('Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0') from error
    if plain:
        secret["data"] = secret.get("data", {}) | plain
    secret.setdefault("type", "Opaque")


def _name_causes(name: str) -> list[Cause]:
    if not name:
        return [("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")]
    if len(name) > 253 or not re.fullmatch(_NAME, name):
        return [("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {_NAME_RULE}')]
    return []


def _content_causes(resource: Resource, found: Object) -> list[Cause]:
    if resource in (CONFIG_MAPS, SECRETS):
        size = sum(len(value) for field in ("data", "binaryData") for value in found.get(field, {}).values())
        return [("FieldValueTooLong", "[]", f"Too long: may not be more than {MAX_DATA} bytes")] if size > MAX_DATA else []
    pod = found.get("spec", {}).get("template", {}).get("spec", {})
    causes: list[Cause] = []
    if not pod.get("containers"):
        causes.append(("FieldValueRequired", "spec.template.spec.containers", "Required value"))
    if pod.get("restartPolicy") not in ("OnFailure", "Never"):
        message = 'Required value: valid values: "OnFailure", "Never"'
        causes.append(("FieldValueRequired", "spec.template.spec.restartPolicy", message))
    return causes


def completed(resource: Resource, found: Object, now: str) -> Object:
    """The object with what the server adds to it at its creation, at an RFC 3339 time."""
    found["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
    if resource is JOBS:
        _complete_job(found)
    return found


def _complete_job(job: Object) -> None:
    metadata, spec = job["metadata"], job["spec"]
    controller, name = metadata["uid"], metadata["name"]
    marks = {
        "batch.kubernetes.io/controller-uid": controller,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": controller,
        "job-name": name,
    }
    metadata["generation"] = 1
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = template.get("labels", {}) | marks
    # The real server gives a Job without labels those of its template.
    metadata.setdefault("labels", dict(template["labels"]))
    defaults: Object = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "manualSelector": False,
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": controller}},
    }
    job["spec"] = defaults | spec
    _complete_pod(spec["template"]["spec"])
    job["status"] = {}


def _complete_pod(pod: Object) -> None:
    defaults: Object = {
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    for key, value in defaults.items():
        pod.setdefault(key, value)
    for container in pod["containers"]:
        _complete_container(container)
    for volume in pod.get("volumes", ()):
        for source in ("configMap", "secret"):
            if source in volume:
                volume[source].setdefault("defaultMode", 0o644)


def _complete_container(container: dict[str, Any]) -> None:
    defaults: Object = {
        "imagePullPolicy": "Always" if container.get("image", "").endswith(":latest") else "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    for key, value in defaults.items():
        container.setdefault(key, value)
    resources = container["resources"]
    if "limits" in resources:
        # What is limited and not asked for is asked for up to its limit.
        resources["requests"] = resources["limits"] | resources.get("requests", {})
    for variable in container.get("env", ()):
        if "fieldRef" in variable.get("valueFrom", {}):
            variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")
