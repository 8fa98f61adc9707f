"""How people word questions to the trading agent: the phrases of every capability that only reads.

One entry per capability, by its verb. They are compared word for word (:mod:`retainer.agent.grammar`), so a phrase that
is not here is left to the router and the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_BOT = "(the bot|the trader|the account|it|trading)"
_HELD = "[do|did|does] (i|we|you|the bot) (have|own|hold|got)"

QUESTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "performance": (
        f"how (did|is|has) {_BOT} (do|doing|done|perform|performed|go|going) [{{period}}]",
        "how (did|are|have) (we|you) (do|doing|done) {period}",
        "how (did|are|have) we (do|doing|done)",
        "how did you do",
        "how much (did|have) (we|you|i|the bot) (make|made|earn|earned|lose|lost|win) [{period}]",
        "(profit|profits|p&l|pnl|performance|returns|result|results|gains) [of the bot|for the bot] [{period}]",
        "(whats|what is|what was|show|show me|give me) [the|my|our] "
        "(profit|p&l|pnl|performance|return|result|results) [{period}]",
        "(are we|am i|is the bot|are you) (up|down|making money|losing money|winning|losing|in profit"
        "|profitable|in the green|in the red|ahead|up or down) [{period}]",
        "(did|have|do) (we|you|i|the bot) (make|made|earn|earned|lose|lost) [any|some] profit [{period}]",
        "(hows|how is) (the bot|it|trading|business|the trading|the trading bot|my money|my account) "
        "[doing|going] [{period}]",
        "how (are|did) my (stocks|shares|investments) (do|doing) [{period}]",
        "how much (am i|are we|is the bot) (up|down) [{period}]",
        "how did (the trading bot|my account|my money|the account|my portfolio|we all) do [{period}]",
        "(did|have) (we|you|i|the bot) (make|made|earn|earned|lose|lost) [any|some] money [{period}]",
        "how (was|were) (the bot|trading|it|we) {period}",
        "what (did|has) (the bot|trading) (make|made|earn|earned|done) [{period}]",
    ),
    "trades": (
        "trades [{period}]",
        "(show|show me|list|give me) [the|my|all|our] trades [{period}]",
        "what did (you|the bot|we) (trade|do|buy and sell) {period}",
        "(whats|what is|what are|what were) the (last|latest|recent) trades",
        "(last|latest|recent|my|our) trades",
        "(what|which|how many) trades (did|have) (you|we|i|the bot|it) (make|made|do|done) [{period}]",
        "(what|which) (stocks|shares) (did|have) (you|we|i|the bot|it) (buy|bought|sell|sold|trade|traded) [{period}]",
        "what (did|have) (you|we|i|the bot|it) (buy|bought|sell|sold|traded) [{period}]",
        "(did|have) (you|we|i|the bot|it) (trade|traded|buy anything|bought anything|sell anything"
        "|sold anything|buy or sell anything|trade anything) [{period}]",
        "(any|were there any) [new] trades [{period}]",
        "(whats|what is|what was) (the|your|my) (last|latest) trade",
    ),
    "digest": (
        "what happened {period}",
        "(what did i miss|whats new|what is new|anything new|any news) [{period}]",
        "(give me|show me|send me) (a|the) (summary|recap|report|digest|update) [(of|for)] [{period}]",
        "(summary|recap|report|digest|update me) [(of|for)] [{period}]",
        "(how was|hows) (your|my|the) (day|week|month)",
    ),
    "why": (
        "why did (you|we|the bot|it) {side} [the|those|these] {symbol}",
        "why (have|has) (you|we|the bot|it) (bought|sold|traded) {symbol}",
        "why (was|were) {symbol} (bought|sold|traded)",
        "why (do|does) (you|we|the bot|it|i) (hold|own|have) {symbol}",
        "(why|reason for|reasons for|explain) [the] {side} of {symbol}",
        "(why|reason for|explain) [the] {symbol} (trade|order|position)",
        "why (didnt|did not|havent) (you|we|the bot|it) (buy|bought|sell|sold|trade|traded) {symbol}",
    ),
    "positions": (
        "(positions|portfolio|holdings|balance|equity|cash|account)",
        "(show|show me|list|whats|what is|what are) [the|my|our|your] "
        "(positions|position|portfolio|holdings|balance|equity|cash|account)",
        "what (do|does) (you|we|i|the bot|it) (own|hold|have)",
        "what (stocks|shares|positions) (do|does) (you|we|i|the bot|it) (own|hold|have)",
        "how much (cash|money) [do (i|we) have|is left|left]",
        "how much (is the account worth|is my account worth|am i worth|do i have|do we have|money is left"
        "|is my portfolio worth|is there|is in the account|money is in the account)",
        "(how is|hows) (my|the|our) portfolio [doing]",
        "what (have i|have we|do i|do we) got",
        "what is (my|the) account worth",
        "(which|what) (stocks|shares|positions) (do|are) (you|we|i|the bot|it) (holding|hold|own|have|in)",
        "what am i (holding|invested in)",
        "do (i|we|you) (have|own|hold) (anything|any shares|any stocks|any positions)",
        "(what is|whats) in (my|the) (account|portfolio)",
        "my (positions|portfolio|holdings|balance|equity|cash|account|money|stocks|shares)",
    ),
    "holding": (
        f"how many (shares of|stocks of) {{symbol}} {_HELD}",
        f"how (many|much) {{symbol}} [shares|stock] {_HELD}",
        "do (i|we|you) (have|own|hold) [any] {symbol} [shares|stock]",
        "(my|show my|show me my) {symbol} [shares|position|holding]",
        "how is my {symbol} [position|stock] [doing]",
        "am i (in|holding) {symbol}",
    ),
    "quote": (
        "(price|quote|last price) (of|for) {symbol}",
        "(whats|what is|show|give me|show me) the (price|quote|last price) (of|for) {symbol}",
        "{symbol} (price|quote)",
        "how much (is|does) [one|a share of|a] {symbol} [share|stock] [cost|worth|now|at|trading at]",
        "(where|whats|what) is {symbol} trading [at|for|now]",
        "(whats|what is|wheres|where is|hows|how is) {symbol} [stock] (at|at now|now|worth|doing|today)",
        "(whats|what is) {symbol}s price",
        "(whats|what is) the {symbol} [stock|share] price",
        "(check|look up|quote) {symbol} [price]",
        "did {symbol} (go up|go down|rise|fall) [today]",
    ),
    "orders": (
        "[open|pending|waiting|resting] orders",
        "(show|show me|list|what are|whats) [the|my|our] [open|pending|waiting|resting] orders",
        "(what|anything) (is|are|orders are) (pending|open|on order)",
        "do (i|we|you) have [any] [open|pending|waiting] orders",
        "(any|are there any) [open|pending|waiting] orders",
        "(what|which) orders (are there|do i have|are open)",
    ),
    "waiting": (
        "what are (you|we) waiting for",
        "(what|anything|whats|what is) [is|are] waiting [for me|for an answer|for my answer]",
        "(do i|do you) (have|need) (to answer anything|anything from me|to approve anything)",
        "(is there|are there) (anything|something|any cards) (to approve|waiting)",
        "(what|anything) [do you] need[s] my (yes|approval|answer)",
    ),
    "unsized": (
        "{side} [some|more|some more|a few|a bit of] {symbol} [shares|stock]",
        "{side} {quantity} [shares|stocks|stock]",
        "{side} [some|a few|more] (shares|stocks|stock)",
        "i wanna {side} [some] {symbol} [shares|stock]",
    ),
    "status": (
        "(trading|bot|trader|account) status",
        "(is|are) (the bot|you|it|we|the trader|the trading bot) [still] (trading|running|stopped|paused"
        "|working|active|buying|on or off|buying or selling)",
        "(is|has) trading [been] (running|stopped|paused|on|active)",
        "did (you|the bot|it|trading) stop",
        "status of the (bot|trader|account)",
        "(whats|what is) (the bot|the trader|it) doing [now|right now|today]",
        "what are you (doing|trading|up to) [now|right now]",
    ),
    "mandate": (
        "[show|show me] [the|my|your] mandate",
        "(whats|what is) (the|your) mandate",
        "what (may|can) (you|the bot|it) (do|trade|buy) (unasked|alone|without asking|by itself|by yourself)",
    ),
    "safety": (
        "[(is|are)] (my|the|our) (money|cash|account|savings|funds) [really] (safe|secure|protected|at risk|ok"
        "|in danger|insured)",
        "(is|are) (this|it|that|you|the bot|all this) (safe|secure|risky|dangerous|trustworthy|legit|a scam)",
        "(is|are) (this|it|these|that|you trading|we trading) [with] (real|real money|paper|play money"
        "|fake money|for real)",
        "(can|could|will|would) (i|we|you|the bot) lose [all] [of] [my|our|the] [(money|everything|savings)]",
        "(can|could|will) (you|the bot) (lose|spend|steal|take|touch|waste) [all] [of] my (money|savings|cash|account)",
        "how (safe|risky|secure) (is|are) (this|it|my money|the bot|trading|my account)",
        "(can|should|do) i (trust|rely on) (you|the bot|this)",
        "(what|whats) (is the|are the|the|are my|are your) (risk|risks|limits)",
        "(show me the|show the|the|risk|my) limits",
        "how much (can|could) (i|we|you|the bot) lose",
        "do you use [my] real money",
        "(am i|are we|are you) (at risk|using real money|trading real money|trading with real money)",
    ),
    "model": (
        "how good is (the|your) [learned|trading] model",
        "(does|can) (the|your) [trading] model (work|predict anything|beat the constant)",
        "(show|show me) [the] [learned|trading] model",
    ),
    "chart": (
        "(chart|graph|picture|plot|curve|equity curve) [{period}]",
        "(show|show me|send|send me|draw|plot|give me) (a|the|my) "
        "(chart|graph|picture|plot|curve|equity curve|performance chart) [{period}]",
        "(show|show me|send me|give me) (a|the) (chart|picture|graph) (of|for) (the account|performance|the bot)",
    ),
}
