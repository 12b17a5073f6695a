"""Images that the cluster does not have: built here from Go modules, and put where the nodes find them."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.kube import FOLDER, Cluster
from tests.cluster.workloads import FORTIO, GRPC_GO

FORTIO_MODULE = "fortio.org/fortio@v1.66.3"
SERVER = Path(__file__).with_name("grpc_go")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "kbalance-tests"
BIN = CACHE / "bin"


def provide_fortio(cluster: Cluster) -> None:
    """Puts fortio's image on every node."""
    _provide(cluster, _archive("fortio", FORTIO_MODULE.rpartition("@")[2], FORTIO, ["go", "install", FORTIO_MODULE]))


def provide_grpc_go(cluster: Cluster) -> None:
    """Puts the image of our own server in grpc-go on every node."""
    source = b"".join((SERVER / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    version = hashlib.sha256(source).hexdigest()[:12]
    _provide(cluster, _archive("grpc-go", version, GRPC_GO, ["go", "build", "-C", str(SERVER), "-o", str(BIN / "grpc-go"), "."]))


def _provide(cluster: Cluster, archive: Path) -> None:
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")["items"]]
    if not cluster.namespaces:
        subprocess.run(["kind", "load", "image-archive", archive], check=True, timeout=300)
        return
    for node in nodes:
        with archive.open("rb") as file:
            command = [FOLDER / "on", node, "ctr", "-n", "k8s.io", "images", "import", "-"]
            subprocess.run(command, stdin=file, check=True, capture_output=True, timeout=120)


def _archive(program: str, version: str, tag: str, build: Sequence[str]) -> Path:
    """One static program on an empty file system, as an archive that containerd and kind import."""
    archive = CACHE / f"{program}-{version}.tar"
    if archive.exists():
        return archive
    BIN.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(BIN), "CGO_ENABLED": "0"}
    subprocess.run(build, env=environment, check=True, timeout=600)
    layer = _tar({program: (BIN / program).read_bytes()}, mode=0o755)
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
