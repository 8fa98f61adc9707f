"""Robinhood's official trading server, as a broker: discovery that fails closed, review before every order.

The idempotency key is ``ref_id``: the order's own deterministic id, written to our journal before the call and reused
on every repeat; Robinhood removes duplicates by it. Every result's ``guide`` is prose for a model and is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from retainer.core.clock import Clock, SystemClock, utc
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.errors import InvalidInputError, NotFoundError, NotSentError, RefusedError, RejectedError
from retainer.core.values import Json, digest
from retainer.safety.facts import account_of, is_live
from retainer.trading.brokers.mcp import MOST_PAGES, AmbiguousError, McpClient, RemoteTool, demand, endless

if TYPE_CHECKING:
    import httpx2

STATES = {
    "new": "working",
    "unconfirmed": "working",
    "queued": "working",
    "confirmed": "working",
    "partially_filled": "working",
    "pending_cancelled": "working",
    "filled": "filled",
    "cancelled": "cancelled",
    "partially_filled_rest_cancelled": "cancelled",
    "rejected": "rejected",
    "failed": "rejected",
    "voided": "rejected",
}
"""Robinhood's order states in ours. Anything else is *unknown*: keep polling, never take it for an end."""


USED = (
    "cancel_equity_order",
    "get_accounts",
    "get_equity_orders",
    "get_equity_positions",
    "get_equity_quotes",
    "get_portfolio",
    "place_equity_order",
    "review_equity_order",
)
"""The tools that are called here; what else the server offers is never touched."""


class RobinhoodSettings(BaseModel):
    """How to reach Robinhood, and whether orders may be placed there at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = "https://agent.robinhood.com/mcp/trading"
    account: str | None = None
    """Account number; ``None``: the one active account that allows agents (more than one is refused)."""
    armed: bool = False
    """Real money. While false every order is refused before anything is sent."""
    definitions: str = ""
    """What :meth:`RobinhoodAPI.definitions` said when the owner approved it; a server that changed a schema since is
    not used until the new value is written here. Empty: tools and arguments are compared by their names only."""
    timeout_s: float = Field(default=20.0, gt=0, le=120)
    quote_age_s: float = Field(default=120.0, gt=0)
    """A quote older than this many seconds is stale: no order."""
    read_attempts: int = Field(default=3, ge=1, le=10)
    """Reads and reviews are tried this often when the server fails for a moment; orders never are, here."""


class RobinhoodAPI:
    """Accounts, portfolio, positions, quotes, orders. ``execute_trade`` needs the guard's permit for exactly that call.

    Without a token, or when not armed, it refuses and says what to do; nothing is sent. ``token`` returns the access
    token when it is needed, so that the object itself never holds it.
    """

    repeat = RepeatClass.ENFORCED
    effect_class = EffectClass.MONEY

    def __init__(
        self,
        settings: RobinhoodSettings | None = None,
        *,
        token: Callable[[], str | None] | None = None,
        clock: Clock | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings or RobinhoodSettings()
        self._token = token
        self._clock: Clock = clock or SystemClock()
        self._transport = transport

    # --- orders ------------------------------------------------------------------------------------------------------
    def execute_trade(self, order: Effect, permit: Permit | None) -> Mapping[str, Any]:
        """Place ``order``; the synchronous twin of :meth:`aexecute_trade`."""
        return asyncio.run(self.aexecute_trade(order, permit))

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """The adapter of tool ``robinhood.order``: what was never sent for a reason of ours is a definite no."""
        try:
            if effect.args.get("action") == "cancel":
                return {"cancelling": await self.cancel(effect, permit)}
            return await self.aexecute_trade(effect, permit)
        except (RefusedError, InvalidInputError, NotFoundError) as error:
            raise RejectedError(error.message, hint=error.hint) from error

    async def aexecute_trade(self, order: Effect, permit: Permit | None) -> dict[str, Any]:
        """Review and place one equity order; returns ``order_id``, ``state``, ``raw_state`` and the review's checks.

        ``order.args``: ``symbol``, ``side``, ``quantity``, ``type`` (market, limit, stop_market, stop_limit),
        ``limit_price``, ``stop_price``, ``client_order_id`` (a UUID). Raises :class:`RefusedError` when not permitted,
        armed or connected, :class:`RejectedError` for a definite no, ``AmbiguousError`` when the answer was lost: the
        same call may then be repeated, because ``ref_id`` is the same.
        """
        if permit is None or not permit.covers(order):
            raise RefusedError("No order leaves without the guard's permit for exactly this call.")
        if not is_live(account_of(order)):  # the guard judged it as one
            raise RefusedError("That order is for a paper account; this broker moves real money.")
        if not self.settings.armed:
            raise RefusedError(
                "Robinhood is not armed for real orders.", hint="Arm it in the settings on this machine."
            )
        arguments = _order_arguments(order.args)
        ref_id = str(order.args.get("client_order_id") or "")
        if not ref_id:
            raise InvalidInputError("The order has no client_order_id.", hint="It is the key that prevents doubles.")
        async with self._session() as (client, tools):
            account = await self._account(client, tools)
            arguments["account_number"] = account
            demand(tools, "place_equity_order", {**arguments, "ref_id": ref_id})
            quote = await self._quote(client, tools, str(arguments["symbol"]))
            review = await self._read(client, tools, "review_equity_order", arguments)
            checks = _alerts(review)
            if checks:
                raise RejectedError(f"Robinhood's review objects: {'; '.join(checks)}.")
            if withdrawn := permit.withdrawn():
                raise RejectedError(withdrawn)
            placed = await client.call("place_equity_order", {**arguments, "ref_id": ref_id})
        found = placed.get("order", placed)
        if not isinstance(found, dict) or not found.get("id"):
            raise AmbiguousError("Robinhood took the order without naming it.")
        _demand_ours(found, arguments)
        return {**_order_view(found), "ref_id": ref_id, "quote": quote["last_trade_price"]}

    async def cancel(self, order: Effect, permit: Permit | None) -> bool:
        """Ask to cancel ``order.args["order_id"]``; ``True``: the request was taken, not that the order is gone."""
        if permit is None or not permit.covers(order):
            raise RefusedError("No cancellation leaves without the guard's permit for exactly this call.")
        async with self._session() as (client, tools):
            arguments = {"account_number": await self._account(client, tools), "order_id": str(order.args["order_id"])}
            demand(tools, "cancel_equity_order", arguments)
            return bool((await client.call("cancel_equity_order", arguments)).get("accepted"))

    async def order(self, order_id: str) -> dict[str, Any]:
        """Where an order stands now. Raises :class:`NotFoundError`."""
        async with self._session() as (client, tools):
            arguments = {"account_number": await self._account(client, tools), "order_id": order_id}
            data = await self._read(client, tools, "get_equity_orders", arguments)
        for found in data.get("orders") or ():
            if found.get("id") == order_id:
                return _order_view(found)
        raise NotFoundError(f"Robinhood knows no order {order_id}.")

    async def definitions(self) -> str:
        """Digest of the schemas of every tool used here, as the server gives them now: for ``settings.definitions``."""
        async with self._session(pinned=False) as (_, tools):
            return _fingerprint(tools)

    # --- reads -------------------------------------------------------------------------------------------------------
    async def portfolio(self) -> dict[str, Decimal]:
        """``cash``, ``total_value`` and ``buying_power`` in dollars."""
        async with self._session() as (client, tools):
            arguments = {"account_number": await self._account(client, tools)}
            data = await self._read(client, tools, "get_portfolio", arguments)
        power = data.get("buying_power")
        if isinstance(power, Mapping):
            power = power.get("buying_power")
        return {
            "cash": _decimal(data.get("cash"), "cash"),
            "total_value": _decimal(data.get("total_value"), "total_value"),
            "buying_power": _decimal(power, "buying_power"),
        }

    async def positions(self) -> dict[str, dict[str, Decimal]]:
        """Open positions by symbol: ``quantity`` and ``sellable`` (shares)."""
        async with self._session() as (client, tools):
            arguments = {"account_number": await self._account(client, tools)}
            rows = await self._pages(client, tools, "get_equity_positions", arguments, "positions")
        result: dict[str, dict[str, Decimal]] = {}
        for row in rows:
            quantity = _decimal(row.get("quantity"), "quantity")
            if row.get("type") in {"long", "short"} and quantity > 0:
                sign = 1 if row["type"] == "long" else -1
                sellable = _decimal(row.get("shares_available_for_sells", "0"), "shares_available_for_sells")
                result[str(row["symbol"])] = {"quantity": sign * quantity, "sellable": sellable}
        return result

    async def quote(self, symbol: str) -> dict[str, Any]:
        """Last trade price (text), its time, bid and ask of an active symbol; refuses a stale or inactive one."""
        async with self._session() as (client, tools):
            return await self._quote(client, tools, symbol)

    # --- inside ------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def _session(self, *, pinned: bool = True) -> AsyncIterator[tuple[McpClient, dict[str, RemoteTool]]]:
        token = self._token() if self._token else None
        if not token:
            raise RefusedError(
                "Robinhood is not connected.", hint="Connect an Agentic account first; the paper account needs none."
            )
        client = McpClient(self.settings.url, token=token, timeout_s=self.settings.timeout_s, transport=self._transport)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(client)
                tools = await client.tools()
            except AmbiguousError as error:
                raise NotSentError("Robinhood did not let us in just now.") from error
            if pinned and self.settings.definitions and _fingerprint(tools) != self.settings.definitions:
                raise RefusedError(
                    "Robinhood describes its tools otherwise than when they were approved.",
                    hint="Look at what changed; then write the new value into definitions.",
                )
            yield client, tools

    async def _read(
        self, client: McpClient, tools: Mapping[str, RemoteTool], name: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        import stamina

        demand(tools, name, arguments)
        try:
            async for attempt in stamina.retry_context(on=AmbiguousError, attempts=self.settings.read_attempts):
                with attempt:
                    return await client.call(name, arguments)
        except AmbiguousError as error:
            raise NotSentError(f"Robinhood's {name} fails at the moment; nothing was ordered.") from error
        raise NotSentError(f"Robinhood's {name} gave no answer.")

    async def _pages(
        self, client: McpClient, tools: Mapping[str, RemoteTool], name: str, arguments: Mapping[str, Any], key: str
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            data = await self._read(client, tools, name, {**arguments, **({"cursor": cursor} if cursor else {})})
            rows.extend(data.get(key) or ())
            cursor = data.get("next_cursor")
            if not cursor:
                return rows
        raise endless(name)

    async def _account(self, client: McpClient, tools: Mapping[str, RemoteTool]) -> str:
        data = await self._read(client, tools, "get_accounts", {})
        allowed = [
            str(account["account_number"])
            for account in data.get("accounts") or ()
            if account.get("agentic_allowed") is True
            and account.get("state") == "active"
            and not account.get("deactivated")
            and not account.get("permanently_deactivated")
        ]
        if self.settings.account is not None:
            if self.settings.account not in allowed:
                raise RefusedError("The configured Robinhood account may not be traded by an agent.")
            return self.settings.account
        if len(allowed) != 1:
            raise RefusedError(
                f"Robinhood shows {len(allowed)} accounts that allow agents; exactly one is needed.",
                hint="Name the account in the configuration.",
            )
        return allowed[0]

    async def _quote(self, client: McpClient, tools: Mapping[str, RemoteTool], symbol: str) -> dict[str, Any]:
        data = await self._read(client, tools, "get_equity_quotes", {"symbols": [symbol]})
        for row in data.get("results") or ():
            quote = row.get("quote") or {}
            if quote.get("symbol") == symbol:
                return self._fresh(quote, symbol)
        raise NotFoundError(f"Robinhood has no quote for {symbol}.")

    def _fresh(self, quote: Mapping[str, Any], symbol: str) -> dict[str, Any]:
        if quote.get("state") != "active":
            raise RejectedError(f"{symbol} is not trading (state {quote.get('state')}).")
        price, at = _latest(quote)
        age = (self._clock.now() - at).total_seconds()
        if age > self.settings.quote_age_s:
            raise RejectedError(f"The last quote of {symbol} is {age:.0f} seconds old.", hint="Try when it trades.")
        return {"symbol": symbol, "last_trade_price": str(price), "at": at.isoformat()}


def _latest(quote: Mapping[str, Any]) -> tuple[Decimal, datetime]:
    """The more recent of the regular and the extended-hours trade."""
    found: list[tuple[datetime, Decimal]] = []
    for price, at in (
        ("last_trade_price", "venue_last_trade_time"),
        ("last_non_reg_trade_price", "venue_last_non_reg_trade_time"),
    ):
        if quote.get(price) and quote.get(at):
            found.append((_instant(str(quote[at]), at), _decimal(quote[price], price)))
    if not found:
        raise RejectedError("The quote holds no trade.")
    at_, price_ = max(found)
    return price_, at_


def _instant(text: str, field: str) -> datetime:
    try:
        return utc(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except ValueError as error:
        raise InvalidInputError(f"Robinhood's field '{field}' is no time: {text[:40]!r}.") from error


def _decimal(value: object, field: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise InvalidInputError(f"Robinhood's field '{field}' is no number: {str(value)[:40]!r}.") from error
    if not number.is_finite():
        raise InvalidInputError(f"Robinhood's field '{field}' is not finite.")
    return number


def _order_arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """Our order as ``place_equity_order`` wants it, without account and ``ref_id``. Refuses what they do not take."""
    kind = str(args.get("type") or "market")
    if kind not in {"market", "limit", "stop_market", "stop_limit"}:
        raise InvalidInputError(f"Robinhood takes no '{kind}' orders.")
    side = str(args.get("side"))
    if side not in {"buy", "sell"}:
        raise InvalidInputError(f"An order buys or sells, not {side!r}.")
    quantity = _decimal(args.get("quantity"), "quantity")
    if quantity <= 0:
        raise InvalidInputError(f"The quantity must be above zero, not {quantity}.")
    if quantity != quantity.to_integral_value() and kind != "market":
        raise InvalidInputError("Fractions of a share go as market orders only.")
    result: dict[str, Any] = {
        "symbol": str(args["symbol"]),
        "side": side,
        "type": kind,
        "quantity": format(quantity, "f"),
        "time_in_force": str(args.get("time_in_force") or "gfd"),
        "market_hours": "regular_hours",
    }
    for name in ("limit_price", "stop_price"):
        wanted = name.split("_", 1)[0] in kind
        if wanted and args.get(name) is None:
            raise InvalidInputError(f"A {kind} order needs {name}.")
        if wanted:
            result[name] = str(_decimal(args[name], name))
    return result


def _fingerprint(tools: Mapping[str, RemoteTool]) -> str:
    return digest([[name, tools[name].schema if name in tools else ""] for name in USED])


def _demand_ours(found: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """The order that came back is the one that was sent. Otherwise nobody can say what happened to ours."""
    same = all(str(found.get(name) or arguments[name]) == str(arguments[name]) for name in ("symbol", "side"))
    wanted = _decimal(arguments["quantity"], "quantity")
    try:
        same = same and _decimal(found.get("quantity") or wanted, "quantity") == wanted
        same = same and 0 <= _decimal(found.get("cumulative_quantity") or "0", "cumulative_quantity") <= wanted
    except InvalidInputError:
        same = False
    if not same:
        raise AmbiguousError("Robinhood answered with another order than ours.", hint="Look into its app.")


def _alerts(review: Mapping[str, Any]) -> list[str]:
    """Names of what the review objects to; the words themselves come from outside and are cut short."""
    checks = review.get("order_checks") or ()
    if isinstance(checks, Mapping):
        checks = checks.get("alerts") or [name for name, value in checks.items() if value]
    return [
        str(c.get("type") or c.get("title") or "alert")[:80] if isinstance(c, Mapping) else str(c)[:80] for c in checks
    ]


def _order_view(order: Mapping[str, Any]) -> dict[str, Any]:
    """What we keep of their order object: decimals as text, state in our words."""
    approval = order.get("approval")
    waiting = isinstance(approval, Mapping) and approval.get("status", approval.get("state")) == "PENDING"
    raw = str(order.get("state"))
    return {
        "order_id": str(order["id"]),
        "state": "waiting for approval in Robinhood's app" if waiting else STATES.get(raw, "unknown"),
        "raw_state": raw,
        "filled_quantity": str(order.get("cumulative_quantity") or "0"),
        "average_price": order.get("average_price"),
        "fees": order.get("fees"),
        "executions": [
            {name: str(found.get(name)) for name in ("id", "price", "quantity", "timestamp", "fees")}
            for found in order.get("executions") or ()
        ],
    }
