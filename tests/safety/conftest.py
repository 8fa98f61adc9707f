"""A store with the runtime's and this room's tables, an owner at the terminal, and a way to store effects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import pytest
from tests.safety.obedient import House

from retainer.core.clock import SystemClock
from retainer.core.effects import Effect, EffectClass, EffectState, RepeatClass, StoredEffect
from retainer.core.events import NewEvent
from retainer.core.protocols import Tx
from retainer.runtime import effects
from retainer.runtime.inbox import insert_event
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.safety import mandate
from retainer.safety.people import Principal, add_device, ensure_local_owner
from retainer.safety.schema import MIGRATIONS as SAFETY

NOW = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)


class PutEffect(Protocol):
    def __call__(
        self, effect: Effect, state: EffectState = ..., *, at: datetime = ..., asked: bool = ..., kind: str = ...
    ) -> StoredEffect: ...


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "retainer.db", (*RUNTIME, *SAFETY))
    yield opened
    opened.close()


@pytest.fixture
def owner(store: SqliteStore) -> Principal:
    return store.write_now(lambda tx: ensure_local_owner(tx, NOW))


@pytest.fixture
def phone(store: SqliteStore, owner: Principal) -> Principal:
    """The owner's telephone, scope trade."""
    return store.write_now(lambda tx: add_device(tx, "telegram", "42", "trade", NOW, person_id=owner.person_id))


@pytest.fixture
def order() -> Callable[..., Effect]:
    """A paper order; keyword arguments replace its args."""

    def make(name: str = "order", **args: object) -> Effect:
        base = {
            "account": "paper",
            "strategy": "trend",
            "symbol": "AAPL",
            "side": "buy",
            "quantity": "5",
            "notional": "960.05",
            "price": "192.01",
            "at": NOW.isoformat(),
            "increases_exposure": True,
        }
        account = str(args.get("account", "paper"))
        return Effect(
            name=name,
            tool="paper.order",
            args={**base, **args},  # type: ignore[dict-item]  # test values are JSON
            effect_class=EffectClass.MONEY,
            queue=f"account:{account}",
            summary="Buy 5 AAPL at about $192.01, cost $960.05.",
        )

    return make


@pytest.fixture
def put(store: SqliteStore) -> PutEffect:
    """Store an effect under an event of its own, as the runtime does."""
    count = 0

    def do(
        effect: Effect,
        state: EffectState = EffectState.ASKED,
        *,
        at: datetime = NOW,
        asked: bool = False,
        kind: str = "request",
    ) -> StoredEffect:
        nonlocal count
        count += 1
        event = NewEvent(
            source="test",
            external_id=str(count),
            agent="trading",
            lane="account:paper",
            kind=kind,
            occurred_at=at,
        )

        def insert(tx: Tx) -> StoredEffect:
            seq = insert_event(tx, event, at).seq
            stored = effects.insert_effect(
                tx,
                effect,
                event_seq=seq,
                lane="account:paper",
                agent="trading",
                state=EffectState.ASKED if asked else state,
                repeat=RepeatClass.ENFORCED,
                now=at,
            )
            if asked and state is not EffectState.ASKED:
                tx.execute("UPDATE effect SET state = ? WHERE key = ?", (state.value, stored.key))
            return replace(stored, state=state)

        return store.write_now(insert)

    return do


@pytest.fixture
def today() -> datetime:
    return SystemClock().now()


@pytest.fixture
def house_rows(store: SqliteStore) -> SqliteStore:
    """A paired phone and a mandate, at the time of these tests."""
    store.write_now(lambda tx: people_and_mandate(tx, NOW))
    return store


def people_and_mandate(tx: Tx, today: datetime) -> None:
    owner = ensure_local_owner(tx, today)
    add_device(tx, "telegram", "42", "trade", today, person_id=owner.person_id)
    mandate.sign(
        tx,
        account="paper",
        strategy="trend",
        symbols=["AAPL"],
        equity=Decimal(100_000),
        order_cap=Decimal(1000),
        max_loss=Decimal(1000),
        expires_at=today + timedelta(days=30),
        by=owner,
        now=today,
    )


@pytest.fixture
async def house(store: SqliteStore, today: datetime) -> AsyncIterator[House]:
    store.write_now(lambda tx: people_and_mandate(tx, today))
    built = House(store)
    await built.runtime.start()
    yield built
    await built.runtime.stop(1.0)


@pytest.fixture
def my_phone(house: House) -> Principal:
    return Principal("owner", "Owner", "trade", "telegram", "42")
