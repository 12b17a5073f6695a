"""Tools that the texts are for. Where one is missing its tests say so and are skipped; in CI they fail.

.NET is not among them: what is checked of the C# texts is that they are well formed, and that their types and properties are
those of the reference documentation (see test_dotnet.py).
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kbalance.analysis.artifacts import Setting, artifacts
from tests.artifacts.pods import Pod, pods
from tests.needs import unmet
from tests.wire.certificates import Certificates

LIMIT_S = 240
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def tool(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name, path=PATH)
    if found is None:
        unmet(name)
    return found


def run(*command: str | Path, cwd: Path | None = None, check: bool = True, **environment: str) -> str:
    """What a program prints, on both streams."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}"
    return done.stdout


def text(fix: str, name: str, setting: Setting) -> str:
    """One of a recommendation's texts."""
    return next(one.content for one in artifacts(fix, setting) if one.name == name)


@pytest.fixture
def pod() -> Iterator[Pod]:
    with pods(1) as (one,):
        yield one


@pytest.fixture
def three() -> Iterator[Sequence[Pod]]:
    with pods(3) as made:
        yield made


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str, Setting], Path]:
    """Writes a text into a folder of its own."""

    def write(fix: str, name: str, setting: Setting) -> Path:
        path = tmp_path / name
        path.write_text(text(fix, name, setting), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
