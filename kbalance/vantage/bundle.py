"""The agent as one file: kbalance's own engine and `hpack`, which any Python from 3.11 on runs without installing anything."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("model", "wire", "traffic", "analysis", "vantage")
"""What the agent imports; command line, reports and the Kubernetes API stay at home."""

BALANCING = ("__init__.py", "policy.py")
"""Of the balancing library: who is next; its transports need httpx, which the agent's image has not."""

LEFT_OUT = tuple(
    f"{room}/{name}"
    for room, names in {
        "analysis": "advice artifacts case.py causes.py changes.py checks comparability.py comparison.py endings.py groups.py"
        " growth.py lifetime.py outcome.py pairing.py pooling.py questions.py rules.py thresholds.py two_samples.py wording.py",
        "model": "comparison.py past.py",
    }.items()
    for name in names.split()
)
"""Of these rooms: what draws and compares conclusions."""

_MAIN = """\
import sys
if sys.version_info < (3, 11):
    print('kb 0 . ["GaveUp",["TrafficError","The image has Python %d.%d and the agent needs 3.11 or later; '
          'name another with --image."]]' % sys.version_info[:2])
    sys.exit(0)
from kbalance.vantage.agent import main
main(sys.argv[1], sys.argv[2])
"""


def bundle() -> bytes:
    """The agent as a compressed zip archive that ``python3 FILE FOLDER SECRETS`` runs; the same bytes from the same sources."""
    package = Path(__file__).parent.parent
    rooms = (p for room in ROOMS for p in (package / room).rglob("*.py"))
    carried = (p for p in rooms if not p.relative_to(package).as_posix().startswith(LEFT_OUT))
    sources = [package / "__init__.py", package / "errors.py", *(package / "balancing" / name for name in BALANCING), *carried]
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for path in sorted(sources):
            _add(archive, f"kbalance/{path.relative_to(package).as_posix()}", path.read_bytes())
        for name, content in _hpack():
            _add(archive, name, content)
    return held.getvalue()


def _hpack() -> Iterator[tuple[str, bytes]]:
    """The one library that the agent needs, in pure Python, with its licence."""
    from importlib.metadata import files

    import hpack

    for source in sorted(Path(hpack.__file__).parent.glob("*.py")):
        yield f"hpack/{source.name}", source.read_bytes()
    for path in files("hpack") or ():
        if path.name.startswith("LICENSE"):
            yield f"hpack/{path.name}", path.read_binary()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
