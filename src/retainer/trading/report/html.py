"""One page that holds everything: no script, no network, prints well, and works in the dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from retainer.trading.report.pictures import MONTHS, page_pictures, shade

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #5c5c5c; --line: #dcdcdc; --paper: #ffffff; --box: #f5f5f2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #a6a6a6; --line: #3a3a3a; --paper: #161616; --box: #202020 }
  svg, td[style] { filter: none } .picture { background: #ffffff; border-radius: 6px } td[style] { color: #1c1c1c }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 62rem; padding: 1rem }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.sentence { font-size: 1.05rem; background: var(--box); padding: .8rem 1rem; border-radius: 6px }
.facts { color: var(--soft); margin: .5rem 0; padding-left: 1.2rem }
.picture svg { width: 100%; height: auto; display: block }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { color: var(--soft); font-weight: 600 }
footer { color: var(--soft); font-size: .85rem; margin: 2rem 0 }
"""


def write_page(report: Mapping[str, Any], path: Path) -> None:
    """Write the page of ``report`` (its JSON), UTF-8. The file needs nothing beside it."""
    path.write_text(page_of(report), encoding="utf-8")


def page_of(report: Mapping[str, Any]) -> str:
    """The page as HTML."""
    pictures = page_pictures(report)
    prices = [name for name in pictures if name.startswith("price-")]
    parts = [
        f"<h1>{escape(report['title'])}</h1>",
        f'<p class="sentence">{escape(report["sentence"])}</p>',
        _facts(report["facts"]),
        _figure("Equity, benchmark, drawdown", pictures["equity"]),
        _section("What this result is worth", _facts(report["honesty"])),
        _section("Chosen on the past, tested on what followed", _folds(report["folds"])) if report["folds"] else "",
        _section("Return of each month, percent", _monthly(report["monthly"])),
        _section("Figures", _statistics(report["statistics"])),
        _figure("Exposure", pictures["exposure"]),
        *(_figure(f"Trades on {name.removeprefix('price-')}", pictures[name]) for name in prices),
        _section(_trades_title(report), _trades(report["trades"])),
        _section("About the data", _facts(report["notes"])) if report["notes"] else "",
        "<footer>Past results say little about coming ones. Made by retainer; this page loads nothing.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(report['title'])}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inside}</section>"


def _figure(title: str, svg: str) -> str:
    return _section(title, f'<div class="picture" role="img" aria-label="{escape(title)}">{svg}</div>')


def _facts(lines: Iterable[str]) -> str:
    return '<ul class="facts">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _statistics(rows: Iterable[Sequence[str]]) -> str:
    return _table(["", "strategy", "buy and hold"], rows)


def _folds(folds: Iterable[Sequence[str]]) -> str:
    return _table(["trained on", "tested on", "chosen", "Sharpe then", "Sharpe after", "return after"], folds)


def _monthly(monthly: Mapping[str, Mapping[str, float]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", *MONTHS, "Year"))
    body = []
    for year in sorted(monthly, key=int):
        values = [monthly[year].get(str(month)) for month in (*range(1, 13), 0)]
        cells = "".join(
            "<td></td>" if v is None else f'<td style="background:{shade(v)}">{v * 100:.1f}</td>' for v in values
        )
        body.append(f"<tr><td>{escape(year)}</td>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _trades_title(report: Mapping[str, Any]) -> str:
    shown, total = len(report["trades"]), report["trades_total"]
    return f"Trades ({total:,})" if shown == total else f"Trades (the last {shown:,} of {total:,})"


def _trades(trades: Sequence[Mapping[str, Any]]) -> str:
    if not trades:
        return "<p>None.</p>"
    rows = [
        (
            t["symbol"],
            t["side"],
            f"{t['quantity']:,.6g}",
            _moment(t["entered"]),
            f"{t['entry']:,.2f}",
            _moment(t["exited"]) if t["exited"] else "open",
            f"{t['exit']:,.2f}",
            f"{t['profit']:+,.2f}",
            f"{t['share']:+.2%}",
            f"{t['bars']:,}",
            t["reason"],
        )
        for t in trades
    ]
    head = ["symbol", "side", "shares", "entered", "at $", "left", "at $", "profit $", "return", "bars", "why it ended"]
    return _table(head, rows)


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")
