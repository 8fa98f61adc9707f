"""Conditions in words: *RSI(2) is under 10 and price is above the 200-day average*, as the spec language has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from retainer.trading.phrases.scanner import Scanner
from retainer.trading.phrases.values import UNIT, Value, bars_in, read_value

_BE: Final = (
    r"(?:(?:is|are|was|were|be|being|goes|gets|stays|remains|trades|trading|closes|closed|falls|drops|dips|rises|moves|"
    r"climbs|has|have|had|been|currently|now|still|back|down|up|again|trading|closing)[, ]+)*"
)
_BELOW: Final = r"(?:below|under|less than|lower than|smaller than|beneath|<(?!=))"
_ABOVE: Final = r"(?:above|over|more than|greater than|higher than|bigger than|>(?!=))"
_AT_MOST: Final = r"(?:at most|no more than|<=)"
_AT_LEAST: Final = r"(?:at least|no less than|>=)"
_AGAIN: Final = r"(?:it|they|that|the price|price|the stock|the shares)"
_CROSSING: Final = r"(?:has |just )?(?:crosses|crossed|crossing|cross|breaks|broke|breaking) ?(?:back)?"
_SHARE: Final = r"(?P<n>\d+(?:\.\d+)?) ?(?:%|percent)"
_GAIN: Final = (
    r"(?:after|at|on|with|for|it (?:has|is)|i (?:have|am)|we (?:have|are))? ?(?:an? )?"
    r"(?P<what>gain(?:ed)?|profit|loss|lost|up|down)(?: of)? "
    + _SHARE
    + r"(?! (?:in|over|within|below|above|under|on))"
)
_FROM_ENTRY: Final = (
    rf"(?:{_AGAIN} )?{_BE}{_SHARE} (?P<side>below|above|under|over) (?:the |its |my )?"
    r"(?:entry|entry price|purchase price|buying price|cost)"
)
_NEW_EXTREME: Final = (
    rf"(?:{_AGAIN} )?{_BE}(?:makes?|made|hits?|reach(?:es)?|sets?|at|on|marks?|to)? ?(?:an? |the |its )?(?:new )?"
    rf"(?P<n>\d+)[- ]?{UNIT}[- ]+(?P<side>high|low)"
)
_IN_A_ROW: Final = (
    rf"(?:{_AGAIN} )?(?:has |is )?(?:closes? |closed )?"
    r"(?P<way>falls?|fell|fallen|drops?|dropped|down|lower|rises?|rose|risen|up|higher)"
    rf"(?: for| on)? (?P<n>\d{{1,2}}) (?:straight |consecutive )?{UNIT}(?: in a row| running| straight)?"
)
_MOVED: Final = (
    rf"(?:{_AGAIN} )?(?:has |have |is |are )?"
    r"(?P<way>falls?|fell|fallen|drops?|dropped|loses?|lost|down|rises?|rose|risen|gains?|gained|up)"
    rf"(?: by)?(?: more than| over| at least)? {_SHARE}(?: or more)?"
    r"(?: (?P<today>today|in a day|in one day|on the day|in 1 day)"
    rf"| (?:in|over|within|during)(?: the (?:last|past))?(?: a)? ?(?P<m>\d+)? ?{UNIT})"
)


@dataclass(slots=True)
class Exits:
    """What a sell clause may say beside a condition."""

    bars: int | None = None
    loss: str | None = None
    profit: str | None = None
    trailing: str | None = None


@dataclass(slots=True)
class ConditionReader:
    """Reads conditions off a sentence; periods said once are remembered for the rest of it."""

    scanner: Scanner
    remembered: dict[str, str] = field(default_factory=dict)
    last: tuple[Value, Value] | None = None
    """What was compared with what last: what *it* means later."""

    def conditions(self, *, exits: Exits | None = None) -> str | None:
        """Conditions joined by *and* and *or*, as one expression; ``None`` when ``exits`` took everything.

        ``exits``: collects time and money exits, where the clause may have some. Raises
        :class:`~retainer.core.errors.InvalidInputError` showing the words that are no condition.
        """
        parts: list[str] = []
        while True:
            if exits is None or not self.exit(exits):
                found = self.condition()
                if found is None:
                    raise self.scanner.lost()
                parts.append(found)
            joined = self._joint()
            if joined is None:
                break
            parts.append(joined)
        while parts and parts[-1] in ("and", "or"):
            parts.pop()
        while parts and parts[0] in ("and", "or"):
            parts.pop(0)
        return " ".join(parts) or None

    def _joint(self) -> str | None:
        """``and`` or ``or``, if another condition follows; otherwise nothing is taken."""
        begin = self.scanner.at
        match = self.scanner.take(r"[,;]? ?(?P<word>and also|and|or|but|while|,)(?: (?:when|if|only if))?")
        if match is None:
            return None
        at = self.scanner.at
        probe = ConditionReader(self.scanner, dict(self.remembered), self.last)
        follows = probe.exit(Exits()) or probe.condition() is not None
        self.scanner.at = at if follows else begin
        return ("or" if match["word"] == "or" else "and") if follows else None

    def exit(self, exits: Exits) -> bool:
        """``after 5 days``, ``the next day``, ``at a 5% loss``: not a condition on the bars but on the position."""
        begin = self.scanner.at
        if (
            match := self.scanner.take(
                rf"(?:after|for) (?:holding (?:it )?(?:for )?)?(?P<n>\d+) (?:trading )?{UNIT}(?: later)?"
            )
        ) or (match := self.scanner.take(rf"(?P<n>\d+) (?:trading )?{UNIT} later")):
            exits.bars = bars_in(match["n"], match["unit"])
            return True
        if self.scanner.take(r"(?:on |at )?(?:the )?next (?:trading )?(?:day|bar|session)"):
            exits.bars = 1
            return True
        match = self.scanner.take(_GAIN) or self.scanner.take(
            rf"(?:(?:after|at|on|with|for) )?(?:an? )?{_SHARE} (?P<what>gain|profit|loss)"
        )
        if match is not None:
            name = "loss" if match["what"] in ("loss", "lost", "down") else "profit"
            setattr(exits, name, match["n"])
            return True
        match = self.scanner.take(_FROM_ENTRY)
        if match is not None:
            setattr(exits, "loss" if match["side"] in ("below", "under") else "profit", match["n"])
            return True
        self.scanner.at = begin
        return False

    def condition(self) -> str | None:
        """One condition right here; ``None`` (and nothing taken) when there is none."""
        begin = self.scanner.at
        for reader in (self._special, self._streak, self._change, self._compared):
            found = reader()
            if found is not None:
                return found
            self.scanner.at = begin
        return None

    def _special(self) -> str | None:
        if self.scanner.take(r"(?:there is |we have )?(?:a |the )?golden cross"):
            return "SMA(50) crosses above SMA(200)"
        if self.scanner.take(r"(?:there is |we have )?(?:a |the )?death cross"):
            return "SMA(50) crosses below SMA(200)"
        match = self.scanner.take(_NEW_EXTREME)
        if match is None or self.scanner.take(rf"{_BE}(?:{_ABOVE}|{_BELOW})") is not None:
            return None
        count = 252 if match["n"] == "52" and match["unit"].startswith("w") else bars_in(match["n"], match["unit"])
        high = match["side"] == "high"
        return f"close > MAX(high, {count})[1]" if high else f"close < MIN(low, {count})[1]"

    def _streak(self) -> str | None:
        """*falls 3 days in a row*."""
        match = self.scanner.take(_IN_A_ROW)
        if match is None or not 1 <= int(match["n"]) <= 20 or "week" in match["unit"] or "month" in match["unit"]:
            return None
        sign = ">" if match["way"][0] in "ruh" else "<"
        steps = [f"close{_ago(step)} {sign} close{_ago(step + 1)}" for step in range(int(match["n"]))]
        return f"({' and '.join(steps)})" if len(steps) > 1 else steps[0]

    def _change(self) -> str | None:
        """*is up more than 10% over 20 days*."""
        match = self.scanner.take(_MOVED)
        if match is None:
            return None
        bars = 1 if match["today"] else bars_in(match["m"] or "1", match["unit"])
        up = match["way"][0] in "rug"
        return f"close / close[{bars}] - 1 {'>' if up else '< -'}{' ' if up else ''}{match['n']}%"

    def _compared(self) -> str | None:
        left = read_value(self.scanner, None, self.remembered)
        if left is None or left.number:
            return None
        begin = self.scanner.at
        if self.scanner.take(r"(?:is |turns |goes |becomes )?(?P<sign>positive|negative)") is not None:
            positive = self.scanner.text[begin : self.scanner.at].endswith("positive")
            return f"{left.text} {'>' if positive else '<'} 0"
        if self.scanner.take(rf"{_BE}between"):
            return self._between(left)
        if (match := self.scanner.take(rf"{_BE}(?P<times>twice|\d+(?:\.\d+)? times|double|triple)")) is not None:
            right = read_value(self.scanner, left, self.remembered)
            times = {"twice": "2", "double": "2", "triple": "3"}.get(match["times"], match["times"].split(" ")[0])
            return None if right is None else f"{left.text} > {times} * {right.text}"
        return self._against(left)

    def _between(self, left: Value) -> str | None:
        low = read_value(self.scanner, left, self.remembered)
        if low is None or not self.scanner.take("and"):
            return None
        high = read_value(self.scanner, left, self.remembered)
        if high is None:
            return None
        left = self._meant(left, low)
        self.last = (left, low)
        name = self._left(left, low)
        return f"({name} > {low.text} and {name} < {high.text})"

    def _against(self, left: Value) -> str | None:
        crossing = self.scanner.take(_CROSSING)
        offset = None
        if crossing is None:
            offset = self.scanner.take(rf"{_BE}(?:more than |at least )?{_SHARE} (?=below|under|above|over)")
            self.scanner.take(_BE.removesuffix("*") + "+")
        sign = self._sign()
        if sign is None:
            return None
        right = self._right(left)
        if right is None:
            return None
        left = self._meant(left, right)
        self.last = (left, right)
        name = self._left(left, right)
        if offset is not None:
            way = "-" if sign.startswith("<") else "+"
            return f"{name} {sign} {right.text} * (1 {way} {offset['n']}%)"
        if crossing is not None and right.subject not in ("high", "low") and "[1]" not in right.text:
            return f"{name} crosses {'above' if sign.startswith('>') else 'below'} {right.text}"
        return f"{name} {sign} {right.text}"

    def _right(self, left: Value) -> Value | None:
        """What is compared with; *it*, or nothing after *it crosses below*, is what it was compared with before."""
        before = self.last
        if self.scanner.take("(?:it|them)"):
            return before[1] if before is not None else None
        found = read_value(self.scanner, left, self.remembered)
        if found is None and before is not None and left.said_it and not before[1].number:
            return before[1]
        return found

    def _meant(self, left: Value, right: Value) -> Value:
        """*It* beside a bare number, or beside what was just compared, is the value that was compared before."""
        if not left.said_it or self.last is None or right.dollars:
            return left
        before, other = self.last
        return before if right.number or right.text == other.text else left

    def _sign(self) -> str | None:
        for pattern, sign in ((_AT_MOST, "<="), (_AT_LEAST, ">="), (_BELOW, "<"), (_ABOVE, ">")):
            if self.scanner.take(pattern):
                return sign
        if self.scanner.take(r"(?:through|out of)(?= the (?:upper|top)| the \d+[- ]?\w+ high)"):
            return ">"
        return "<" if self.scanner.take(r"(?:through|out of)") else None

    @staticmethod
    def _left(left: Value, right: Value) -> str:
        """Dollars are compared with the price as it was traded, not with the adjusted one."""
        return "price" if left.text == "close" and right.number else left.text


def _ago(bars: int) -> str:
    return f"[{bars}]" if bars else ""
