"""The plan of the house: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kbalance"

FLOORS = (
    {"__main__"},
    {"cli"},
    {"pipeline", "remote"},
    {"render", "vantage"},
    {"traffic"},
    {"analysis", "balancing"},
    {"wire", "kube"},
    {"errors"},
    {"model"},
)
"""From the top down; a room may import from lower floors and from itself."""


def rooms_imported(path: Path) -> Iterator[str]:
    """The rooms of kbalance that a module names in its import statements, wherever they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "kbalance" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(room: str) -> set[str]:
    if room == "testbed":
        return {"testbed", "model"}
    floor = next(i for i, rooms in enumerate(FLOORS) if room in rooms)
    below = set().union(*FLOORS[floor + 1 :])
    return below | {room} | ({"testbed"} if room == "cli" else set())


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_flow_downward(path: Path) -> None:
    assert set(rooms_imported(path)) <= allowed(room_of(path))


def test_every_folder_says_what_lives_there() -> None:
    silent = [p.parent.name for p in PACKAGE.rglob("__init__.py") if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]

    assert silent == []


@pytest.mark.parametrize("arguments", [["--help"], ["probe", "--help"], ["explain", "--list"], ["diff", "--help"]])
def test_what_only_talks_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['kbalance', *{arguments!r}]\n"
    code += "from kbalance.__main__ import main\ntry:\n main()\nfinally:\n print('|', *sys.modules)"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    loaded = set(out.rpartition("|")[2].split())
    assert (
        loaded & {"ssl", "asyncio", "httpx", "tabulate", "json", "kbalance.traffic.driver", "kbalance.testbed.cluster"} == set()
    )


def test_a_probe_over_http_loads_only_what_it_uses() -> None:
    code = "import sys, kbalance.pipeline, kbalance.render; print(*sys.modules)"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    loaded = set(out.split())
    assert loaded & {"ssl", "asyncio", "httpx", "tabulate", "kubernetes", "urllib.request"} == set()
    # Before the first request, that is.
    assert loaded & {"kbalance.analysis.rules", "kbalance.analysis.advice", "kbalance.analysis.thresholds"} == set()
