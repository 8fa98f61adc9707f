"""Mandates at this machine: read, signed anew, taken back; and what the service makes of that at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from retainer.app.config import Settings, load_settings
from retainer.app.folder import DataFolder
from retainer.app.mandates import read_cap, revoke_mandate, show_mandates, sign_first, sign_mandate
from retainer.app.phones import _first_database
from retainer.app.store import open_outside, open_view
from retainer.core.clock import ManualClock
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.safety import audit, mandate, totp
from retainer.safety.people import ensure_local_owner
from retainer.safety.secrets import Secrets

START = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
CAPS: dict[str, Any] = {"order_cap": ["2,500", "30%"], "daily_cap": ["$5000"], "max_loss": ["10%"]}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder after its first start."""
    made = load_settings(data=tmp_path / "data")
    _first_database(made, DataFolder(made.data).make())
    with open_outside(made) as store:
        store.write_now(lambda tx: sign_first(tx, made.trading, ensure_local_owner(tx, START), START))
    return made


@pytest.fixture
def sign(settings: Settings, clock: ManualClock) -> Callable[..., int]:
    def do(**changes: Any) -> int:
        plain: dict[str, Any] = {
            "account": None,
            "strategy": None,
            "symbols": [],
            "order_cap": [],
            "daily_cap": [],
            "max_loss": [],
            "days": 30,
            "yes": True,
            "clock": clock,
        }
        return sign_mandate(settings, **{**plain, **changes})

    return do


def in_force(settings: Settings, now: datetime) -> list[mandate.Mandate]:
    with open_view(settings) as view:
        return mandate.in_force(view, now)


def test_a_new_one_takes_the_place_of_the_first_and_reads_like_a_sentence(
    settings: Settings, sign: Callable[..., int], clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    [first] = in_force(settings, START)
    clock.advance(seconds=1)
    assert sign(symbols=["aapl", "IBM"], **CAPS) == 0
    [signed] = in_force(settings, clock.now())
    assert signed.id != first.id
    assert signed.symbols == {"AAPL", "IBM"}
    assert (signed.order_cap, signed.order_cap_share) == (Decimal(2500), Decimal("0.3"))
    assert signed.expires_at == clock.now() + timedelta(days=30)
    assert signed.equity_at_signing == settings.trading.cash
    said = capsys.readouterr().out
    assert (
        "may trade AAPL, IBM on paper by itself, at most $2,500.00 or 30 % of equity an order; $5,000.00 a day" in said
    )
    assert f"retainer mandate revoke {signed.id}" in said
    assert show_mandates(settings, ended=True, as_json=True, clock=clock) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["in_force"]) for each in listed] == [(first.id, False), (signed.id, True)]
    with open_view(settings) as view:
        assert audit.verify(view).ok


def test_without_caps_a_paper_account_gets_those_of_a_first_start(
    settings: Settings, sign: Callable[..., int], clock: ManualClock
) -> None:
    [first] = in_force(settings, START)
    clock.advance(days=400)
    assert in_force(settings, clock.now()) == []
    assert sign() == 0
    [renewed] = in_force(settings, clock.now())
    assert [getattr(renewed, cap) for cap in mandate.CAPS] == [getattr(first, cap) for cap in mandate.CAPS]
    assert renewed.symbols == first.symbols


def test_a_revoked_one_ends_at_once_and_stays_ended(
    settings: Settings, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    [first] = in_force(settings, START)
    assert revoke_mandate(settings, first.id, clock=clock) == 0
    assert in_force(settings, clock.now()) == []
    with pytest.raises(NotFoundError, match="in force"):
        revoke_mandate(settings, first.id, clock=clock)
    assert show_mandates(settings, ended=False, as_json=False, clock=clock) == 0
    assert "ask for every order" in capsys.readouterr().out
    with open_outside(settings) as store:  # the next start of the service gives back nothing
        store.write_now(lambda tx: sign_first(tx, settings.trading, ensure_local_owner(tx, START), START))
    assert in_force(settings, clock.now()) == []


def test_real_money_takes_every_cap_in_words_and_a_code_that_counts_once(
    settings: Settings, sign: Callable[..., int], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retainer.app.mandates.equity_of", lambda _view, _account: Decimal(10_000))
    live: dict[str, Any] = {"account": "robinhood", **CAPS}
    with pytest.raises(InvalidInputError, match="a cap per order"):
        sign(account="robinhood")
    with pytest.raises(RefusedError, match="authenticator app"):
        sign(**live)
    secret = totp.new_secret()
    Secrets(DataFolder(settings.data).secrets).store("secret:totp", secret)
    code = totp.code_at(secret, int(clock.now().timestamp()) // 30)
    with pytest.raises(RefusedError, match="not its present code"):
        sign(**live, read=lambda _prompt: "000000" if code != "000000" else "111111")
    assert [each.account for each in in_force(settings, clock.now())] == ["paper"]
    assert sign(**live, read=lambda _prompt: code) == 0
    assert {each.account for each in in_force(settings, clock.now())} == {"paper", "robinhood"}
    with pytest.raises(RefusedError, match="not its present code"):
        sign(**live, read=lambda _prompt: code)


def test_an_account_whose_worth_nobody_knows_gets_none(sign: Callable[..., int]) -> None:
    with pytest.raises(RefusedError, match="not known yet"):
        sign(account="robinhood", **CAPS)


def test_where_nobody_can_be_asked_it_says_so(sign: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(InvalidInputError, match="nobody to ask"):
        sign(yes=False)


@pytest.mark.parametrize("text", ["", "%", "much", "30 percent", "$", "sNaN%"])
def test_what_is_no_amount_is_named(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is no amount"):
        read_cap("order_cap", [text])


def test_two_amounts_of_a_kind_are_one_too_many(sign: Callable[..., int]) -> None:
    with pytest.raises(InvalidInputError, match="second of its kind"):
        sign(**{**CAPS, "order_cap": ["1", "2"]})
    for wrong in ("-1", "0", "nan", "-5%"):
        with pytest.raises(InvalidInputError, match="positive number"):
            sign(**{**CAPS, "max_loss": [wrong]})
