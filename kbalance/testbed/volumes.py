"""A pod's ConfigMaps and Secrets as files, and its command and environment as this machine's process needs them."""

import base64
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import CONFIG_MAPS, SECRETS
from kbalance.testbed.store import Store

_SOURCES = (("configMap", CONFIG_MAPS, "name"), ("secret", SECRETS, "secretName"))


def missing(store: Store, pod: Object) -> tuple[str, str] | None:
    """The first volume whose ConfigMap or Secret is not there, with what the kubelet says of it."""
    for volume in pod["spec"].get("volumes", ()):
        for field, resource, naming in _SOURCES:
            source = volume.get(field)
            if source is None or source.get("optional"):
                continue
            if store.get(resource, pod["metadata"]["namespace"], source[naming]) is None:
                return volume["name"], f'{resource.kind.lower()} "{source[naming]}" not found'
    return None


def mount(store: Store, pod: Object, folder: Path) -> dict[str, Path]:
    """Write the files of the first container's volumes below a folder; returns mount paths to where they really are."""
    places = {}
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
    for one in pod["spec"]["containers"][0].get("volumeMounts", ()):
        place = folder / one["name"]
        place.mkdir(parents=True, exist_ok=True)
        _fill(store, pod["metadata"]["namespace"], volumes[one["name"]], place)
        places[one["mountPath"].rstrip("/")] = place / one.get("subPath", "")
    return places


def _fill(store: Store, namespace: str, volume: Object, place: Path) -> None:
    for field, resource, naming in _SOURCES:
        source = volume.get(field)
        found = None if source is None else store.get(resource, namespace, source[naming])
        if source is None or found is None:
            continue
        content = contents(found, secret=field == "secret")
        items = source.get("items") or [{"key": key, "path": key} for key in content]
        for item in items:
            file = place / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            file.write_bytes(content[item["key"]])
            # Others can read what the defaults say they can; the owner keeps what this process needs to clean up.
            file.chmod(item.get("mode", source.get("defaultMode", 0o644)) | 0o400)


def contents(found: Object, *, secret: bool) -> dict[str, bytes]:
    """Keys of a ConfigMap or a Secret to what they hold."""
    if secret:
        return {key: base64.b64decode(value) for key, value in found.get("data", {}).items()}
    plain = {key: value.encode() for key, value in found.get("data", {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}


def moved(text: str, places: Mapping[str, Path]) -> str:
    """The text with every mount path replaced by where the files really are."""
    for path, place in sorted(places.items(), key=lambda item: -len(item[0])):
        text = str(place).join(re.split(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", text))
    return text


def environment(store: Store, pod: Object, places: Mapping[str, Path], base: Mapping[str, str]) -> dict[str, str]:
    """The first container's variables on top of those that every container has."""
    variables = dict(base)
    for variable in pod["spec"]["containers"][0].get("env", ()):
        value = variable.get("value")
        if value is None:
            value = _value_from(store, pod, variable.get("valueFrom", {}))
        variables[variable["name"]] = moved(_expanded(value, variables), places)
    return variables


def _value_from(store: Store, pod: Object, source: Mapping[str, Any]) -> str:
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    for field, resource in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
        found = store.get(resource, pod["metadata"]["namespace"], source[field]["name"]) if field in source else None
        if found is not None:
            return contents(found, secret=resource is SECRETS).get(source[field]["key"], b"").decode()
    return ""


def _field(pod: Object, path: str) -> str:
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` by the variable of that name, as Kubernetes has it; an unknown one stays."""
    return re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)


def command(pod: Object, places: Mapping[str, Path], variables: Mapping[str, str]) -> list[str]:
    """The first container's program and arguments.

    Raises:
        FileNotFoundError: when there is no such program; its argument is the name.
    """
    container = pod["spec"]["containers"][0]
    words = [moved(_expanded(word, variables), places) for word in [*container.get("command", ()), *container.get("args", ())]]
    program = words[0] if words else ""
    found = sys.executable if program in ("python", "python3") else shutil.which(program)
    if found is None:
        raise FileNotFoundError(program)
    return [found, *words[1:]]
