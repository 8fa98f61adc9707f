"""The runtime's own tests once more, on PostgreSQL: handling, effects, approvals, stop, timers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.runtime.test_runtime_effects import *  # noqa: F403 - the very same tests
from tests.runtime.test_runtime_turns import *  # noqa: F403 - the very same tests

from retainer.runtime.base import BaseStore
from retainer.runtime.schema import MIGRATIONS


@pytest.fixture
def opened(postgres_url: str) -> Iterator[BaseStore]:
    from retainer.runtime.postgres.store import PostgresStore

    store = PostgresStore.open(postgres_url, MIGRATIONS, tick=0.05)
    yield store
    store.close()


@pytest.fixture
def open_beside(postgres_url: str) -> Callable[[], BaseStore]:
    from retainer.runtime.postgres.store import PostgresStore

    return lambda: PostgresStore.open(postgres_url, MIGRATIONS, owner=False)
