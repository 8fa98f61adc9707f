"""What made each version of an account's state, kept for replay: a row per version, written with the state itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from retainer.core.protocols import Tx, View
from retainer.core.values import canonical
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import AccountState, Order
from retainer.trading.units import NS

if TYPE_CHECKING:
    from retainer.trading.records import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One version of the state: what led to it, and the digest it must have."""

    version: int
    event_seq: int
    at: int
    """The account's time, ns."""
    inputs: Mapping[str, Any]
    digest: str


def bar_inputs(
    limits: Limits, fees: Fees, targets: Mapping[str, int], control: str, strategy: Mapping[str, Any], failed: str = ""
) -> dict[str, Any]:
    """What a bar set is handled with beside the bars themselves. ``failed``: why the strategy could not say."""
    return {
        "kind": "bar",
        "stopped": control == "stopped",
        "control": control,
        "strategy": dict(strategy),
        "failed": failed,
        "targets": dict(targets),
        "limits": asdict(limits),
        "fees": asdict(fees),
    }


def failing(view: View, account: str) -> bool:
    """Whether the strategy could not decide at the last bar set."""
    rows = view.query("SELECT inputs FROM account_step WHERE account = ? ORDER BY version DESC LIMIT 20", (account,))
    found = [inputs for row in rows if (inputs := json.loads(row["inputs"]))["kind"] == "bar"]
    return bool(found and found[0].get("failed"))


def rules_in(inputs: Mapping[str, Any]) -> tuple[Limits, Fees]:
    """The limits and fees that a bar set was handled with."""
    limits = dict(inputs["limits"])
    return Limits(**{**limits, "symbols": tuple(limits["symbols"])}), Fees(**inputs["fees"])


def write_step(tx: Tx, event_seq: int, change: Change) -> None:
    """Keep what ``change`` did. An account that is older than this table begins with its state as it stands."""
    state = change.state
    if change.before is not None and not _known(tx, state.account):
        row = tx.one("SELECT state, at, event_seq FROM account WHERE id = ?", (state.account,))
        if row is not None:
            start = {"kind": "start", "state": json.loads(row["state"])}
            _insert(tx, state.account, start["state"]["version"], row["event_seq"], row["at"], start)
    inputs = dict(change.inputs) or _change_inputs(change)
    _insert(tx, state.account, state.version, event_seq, state.at / NS, inputs, state.digest())


def _known(tx: Tx, account: str) -> bool:
    return tx.one("SELECT version FROM account_step WHERE account = ? LIMIT 1", (account,)) is not None


def _change_inputs(change: Change) -> dict[str, Any]:
    """Of anything but a bar set: the orders that still rest, and the symbols held up."""
    kept = sorted(order.id for order in change.state.orders)
    return {"kind": "change", "kept": kept, "blocked": list(change.state.blocked)}


def _insert(
    tx: Tx, account: str, version: int, event_seq: int, at: float, inputs: Mapping[str, Any], digest: str = ""
) -> None:
    if not digest:
        digest = AccountState.from_json(inputs["state"]).digest()  # in the present format
    tx.execute(
        "INSERT INTO account_step (account, version, event_seq, at, inputs, digest) VALUES (?, ?, ?, ?, ?, ?)",
        (account, version, event_seq, at, canonical(dict(inputs)).decode(), digest),
    )


def read_steps(view: View, account: str) -> list[Step]:
    """Every kept step, oldest first."""
    rows = view.query("SELECT * FROM account_step WHERE account = ? ORDER BY version", (account,))
    return [
        Step(
            version=row["version"],
            event_seq=row["event_seq"],
            at=round(row["at"] * NS),
            inputs=json.loads(row["inputs"]),
            digest=row["digest"],
        )
        for row in rows
    ]


def taken_orders(view: View, account: str) -> dict[int, list[Order]]:
    """Orders by the event that took them into the state, in order of acceptance."""
    rows = view.query(
        "SELECT taken_by, body FROM paper_order WHERE account = ? AND taken_by IS NOT NULL ORDER BY seq", (account,)
    )
    taken: dict[int, list[Order]] = {}
    for row in rows:
        taken.setdefault(row["taken_by"], []).append(Order(**json.loads(row["body"])))
    return taken
