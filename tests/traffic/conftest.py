"""What tests of traffic share: certificates, made once, and the testbed's pods in a thread of their own."""

from collections.abc import Iterator

import pytest

from tests.testbed.conftest import Background, start_pod
from tests.wire.certificates import Certificates

__all__ = ["start_pod"]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()
