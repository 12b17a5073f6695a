"""Images that the cluster does not have: built here from Go modules, and put where the nodes find them."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.cluster.kube import FOLDER, Cluster
from tests.cluster.workloads import FORTIO

FORTIO_MODULE = "fortio.org/fortio@v1.66.3"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "kbalance-tests"


def provide_fortio(cluster: Cluster) -> None:
    """Puts fortio's image on every node."""
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")["items"]]
    archive = _archive("fortio", FORTIO_MODULE, FORTIO)
    if not cluster.namespaces:
        subprocess.run(["kind", "load", "image-archive", archive], check=True, timeout=300)
        return
    for node in nodes:
        with archive.open("rb") as file:
            command = [FOLDER / "on", node, "ctr", "-n", "k8s.io", "images", "import", "-"]
            subprocess.run(command, stdin=file, check=True, capture_output=True, timeout=120)


def _archive(program: str, module: str, tag: str) -> Path:
    """One static program on an empty file system, as an archive that containerd and kind import."""
    archive = CACHE / f"{program}-{module.rpartition('@')[2]}.tar"
    if archive.exists():
        return archive
    folder = CACHE / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
    subprocess.run(["go", "install", module], env=environment, check=True, timeout=600)
    layer = _tar({program: (folder / program).read_bytes()}, mode=0o755)
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{program}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}.tar"]}]).encode()
    partial = archive.with_suffix(".partial")
    partial.write_bytes(_tar({name: config, f"{digest}.tar": layer, "manifest.json": manifest}))
    partial.rename(archive)
    return archive


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return held.getvalue()
