"""What a test needs of the machine: a skip says what is lacking, and CI, which has everything, fails instead."""

import os
import shutil
from typing import NoReturn

import pytest

from tests.kernel.netns import lacking


def unmet(what: str) -> NoReturn:
    """Skips a test, or fails it in CI."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def needs_kernel() -> None:
    """Root, and the tools for a network namespace with kube-proxy's rules."""
    if missing := lacking(os.geteuid(), shutil.which):
        unmet(", ".join(missing))
