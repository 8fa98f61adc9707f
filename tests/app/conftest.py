"""One running service for all tests of a module that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.app.running import Chat, Service, chatting


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """``retainer up`` on an empty folder, quick and without a model."""
    with Service(tmp_path_factory.mktemp("app") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def chat(service: Service) -> Iterator[Chat]:
    """A terminal beside it."""
    with chatting(service) as opened:
        yield opened
