"""Redaction: known secrets by their exact value, unknown ones by their shape, before anything is logged or kept.

Exact values are the boundary (a value that was resolved from a handle is registered here at once); patterns catch what
somebody pastes. Libraries log URLs with tokens in them, so the filter also cleans arguments and exception texts.
"""

from __future__ import annotations

import html
import json
import logging
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import cache
from itertools import product
from typing import Any
from urllib.parse import quote, quote_plus

from retainer.core.errors import InvalidInputError

MARK = "[secret]"
"""What stands where a secret was."""
MIN_LENGTH = 4
"""Shorter values cannot be told from ordinary text and are not accepted."""
_BASE64_LENGTH = 8
"""Shorter values are not looked for in base64: what they become is too short to be anything for certain."""

_PEM = r"[\w +%]{1,40}PRIVATE(?: |\+|%20)KEY"
_MADE_UP = re.compile(r"\d[a-zA-Z]|[a-zA-Z]\d|[a-z][A-Z].*[a-z][A-Z]|=$|.{32}")
"""What no English word looks like: after "basic" or "bearer" it is a credential."""
_HEADER = r"""(?:\\?["']?\s*[=:]|["'],)\s*(?:b(?=["']))?"""
"""Between the name of a header and what it holds: as a line, in JSON, or as a pair in Python."""
_AUTHORIZATION = re.compile(
    rf"""([aAbB](?<!\w.)(?i:
        (?<=a)uthorization{_HEADER}\\?["']?(?:((?:bearer|basic|token|api-?key)\s+)|(?:[a-z-]{{1,20}}\s+)?)
      | (?<=b)(?:earer|asic)\s+
    ))([\w.~+/=-]{{8,}})""",
    re.VERBOSE,
)
_PAIR = r"""[^\s=;,"'\[\]\\]{1,100}=(?:\\?"[^"\r\n]*"|[^\s;,"'\\]*)"""
_COOKIE = re.compile(rf"""([cC](?i:ookie{_HEADER})\\?["']?){_PAIR}(?:[;,]\s*{_PAIR})*""")
_NAMED = re.compile(
    r"""([aApPsStT](?i:
        (?<=a)(?:pi|ccess)[_-]?key | (?<=s)ecret(?:[_-]?(?:access[_-]?)?key)? | (?<=t)oken | (?<=p)rivate[_-]?key
      | ((?<=p)(?:assw(?:or)?d|assphrase) | (?<=_p)ass | (?<=p)wd(?!\W{0,6}[/~]))  # PWD alone is mostly a folder
    )\\?["']?\s*[=:]>?\s*(\\?["'])?)(?!\[secret\])
    (?:(?(2)(?(3)(?:(?!\3)(?:\\.|[^\\\r\n])){4,}|(?!))|(?!))  # only a password has spaces, and only in quotes
      | (?:[^\s"'&,;\[\]{}()\\]|\\(?!["'])){6,})""",
    re.VERBOSE,
)
"""What is named as a secret. It begins with a class, over which the engine runs several times faster."""
_PREFIXED = re.compile(
    r"""\b(?:
        (?:sk|pk|rk)[-_][\w-]{16,}
      | (?:ghp|gho|ghs|ghu|ghr|github_pat|hf|glpat)[-_]\w{16,}
      | npm_[A-Za-z0-9]{36}\b                         # with more underscores it is a variable of npm
      | whsec_[\w+/=-]{16,}                           # web hooks of Stripe and Svix
      | (?:xox[abceprs]|xapp)-[\w-]{10,}              # Slack
      | hooks\.slack\.com\\?/(?:services|workflows)\\?/[\w/\\]{20,}
      | discord(?:app)?\.com\\?/api\\?/webhooks\\?/\d+\\?/[\w-]{30,}
      | (?:AIza|GOCSPX-|ya29\.)[\w-]{20,}             # Google
      | A(?:KIA|SIA(?=[A-Z]*\d))[0-9A-Z]{16}\b        # Amazon
      | SK[0-9a-f]{32}\b                              # Twilio: a key; an account with its token
      | AC[0-9a-f]{32}\W{1,4}[0-9a-f]{32}\b
      | SG\.[\w-]{16,}\.[\w-]{16,}                    # SendGrid
      | (?:gsk_|xai-|pplx-|tvly-(?:dev-)?|r8_|shp(?:at|ca|pa|ss)_)\w{20,}
      | (?:dckr_pat_|pypi-AgE|rh-api-|AGE-SECRET-KEY-1)[\w-]{20,}
      | [AP]K(?=[A-Z]*\d)[0-9A-Z]{18}(?:[0-9A-Z]{6})?\b  # Alpaca; without a digit it is a word in capitals
      | eyJ(?:(?!\beyJ)[\w-]){8,}+\.[\w-]{8,}\.[\w-]*  # JSON web token, up to where the next one could begin
    )""",
    re.VERBOSE,
)
"""What begins as its maker says. One pass for all, and linear: a long run of beginnings is looked at once."""
_CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d){10,15}(?![\w-])")


def luhn(digits: str) -> bool:
    """Whether ``digits`` pass the check-digit rule of payment cards (ISO/IEC 7812-1)."""
    total = 0
    for place, ch in enumerate(reversed(digits)):
        value = int(ch) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match.group())
    return MARK if 14 <= len(digits) <= 19 and luhn(digits) else match.group()


def _authorization(match: re.Match[str]) -> str:
    """Outside a header, or with no scheme known, "basic information" is English: the value must look like no word."""
    before, scheme, value = match.groups()
    return f"{before}{MARK}" if scheme or _MADE_UP.search(value) else match.group()


_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # First, because it is long: other patterns would take pieces out of its middle. Cut off, it goes to the end.
    (re.compile(rf"(?s)-----BEGIN{_PEM}.*?(?:-----END{_PEM}[\w +%]*-----|\Z)"), MARK),
    (re.compile(r"(:\\?/\\?/[^\s/?#:@\"'<>]*:)[^\s/?#\"'<>]+(?=@)"), rf"\1{MARK}"),  # https://user:password@host
    (re.compile(r"(?<!\d)\d{6,}(?::|%3A)[\w-]{30,}", re.IGNORECASE), MARK),  # Telegram bot token
    (_AUTHORIZATION, _authorization),
    (_PREFIXED, MARK),
    (_COOKIE, rf"\1{MARK}"),
    (_NAMED, rf"\1{MARK}"),
    (_CARD, _card),
)
_WORTH_LOOKING = re.compile(
    r"""[-_=:\d"'ABPSbe](?:(?<=[-_=:])|(?<=\d)\d{3}|(?<=["']),|(?<=[Bb])(?i:earer|asic)|(?<=e)yJ|(?<=ya29)\.
    |(?<=A)(?:Iza|SIA[0-9A-Z]{16}|C[0-9a-f]{32})|(?<=[AP])K[0-9A-Z]{18}|(?<=S)(?:K[0-9a-f]{32}|G\.[\w-]{16}))""",
    re.VERBOSE,
)
"""Every pattern needs one of these; most lines have none and are passed on at once.

The first class alone lets the engine run over other letters, several times faster than trying alternatives at each.
"""
_HTML_QUOTES = (
    ('"', "'"),
    ("&#34;", "&#39;"),
    *(("&quot;", each) for each in ("'", "&#x27;", "&#39;", "&#039;", "&apos;")),
)
"""The two quotes in HTML and XML, by who writes them."""
_SHORT = 64
_REMEMBERED = 4096
"""Short texts that were found harmless: log lines and records are made of the same few thousand words."""


class Redactor:
    """Removes secrets from texts. One per process is enough: :func:`default_redactor`."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._exact: re.Pattern[str] | None = None
        self._harmless: set[str] = set()
        for value in values:
            self.register(value)

    def __repr__(self) -> str:
        return f"Redactor({len(self._values)} forms)"

    def register(self, value: str) -> None:
        """Remove ``value`` from now on, also as URLs, forms, JSON and HTML spell it, and whole in base64.

        Raises :class:`InvalidInputError` (without the value in it) when it is shorter than :data:`MIN_LENGTH`.
        """
        if len(value.strip()) < MIN_LENGTH:
            raise InvalidInputError(f"A secret must have at least {MIN_LENGTH} characters.", hint="Use a longer one.")
        forms = _spellings(value) | _spellings(value.strip())
        with self._lock:
            if forms <= self._values:
                return
            self._values |= forms
            self._exact = _any_of(self._values)
            self._harmless = set()

    def clean(self, text: str) -> str:
        """``text`` without any registered value and without what looks like a secret."""
        harmless = self._harmless  # read first: whoever registers a value puts a new set in its place
        if text in harmless:
            return text
        cleaned = self._patterns(self._known(text, MARK))
        if cleaned != text or MARK in text:
            cleaned = self.clean_known(cleaned)
        if cleaned == text and len(text) <= _SHORT:
            if len(harmless) >= _REMEMBERED:
                harmless.clear()
            harmless.add(text)
        return cleaned

    def clean_known(self, text: str) -> str:
        """``text`` without any registered value; what merely looks like a secret stays."""
        text = self._known(text, MARK)
        # A mark may meet its surroundings to spell another secret: then take out until nothing is left of any.
        while self._exact is not None and self._exact.search(text):
            text = self._known(text, "")
        return text

    def clean_value(self, value: Any) -> Any:
        """:meth:`clean` for every text inside ``value`` (mappings and sequences included)."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, bytes):
            return self.clean(value.decode(errors="replace"))
        if isinstance(value, Mapping):
            return {self.clean_value(k): self.clean_value(v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean_value(item) for item in value]
        if isinstance(value, bool | int | float) or value is None:
            return value
        text = repr(value) if isinstance(value, BaseException) else str(value)
        cleaned = self.clean(text)
        return value if cleaned == text and not isinstance(value, BaseException) else cleaned

    def _known(self, text: str, mark: str) -> str:
        return text if self._exact is None else self._exact.sub(mark, text)

    @staticmethod
    def _patterns(text: str) -> str:
        if _WORTH_LOOKING.search(text) is None:
            return text
        for pattern, mark in _PATTERNS:
            text = pattern.sub(mark, text)
        return text


def _spellings(value: str) -> set[str]:
    """How programs write ``value``."""
    data = value.encode(errors="surrogatepass")
    found = {value, value.encode("unicode_escape").decode(), value.replace("\\", "\\\\").replace('"', '\\"')}
    found |= _as_json(value)
    for quoting, safe in product((quote, quote_plus), ("/", "", "!'()*")):  # the last as JavaScript has it
        quoted = quoting(data, safe)
        found |= {quoted, re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), quoted)}
    for double, single in _HTML_QUOTES:
        found.add(html.escape(value, quote=False).replace('"', double).replace("'", single))
    if len(value) >= _BASE64_LENGTH:
        for encoded in (b64encode(data).decode(), urlsafe_b64encode(data).decode()):
            found |= {encoded, encoded.rstrip("=")}
    return found | {form.replace("/", "\\/") for form in found}


def _as_json(value: str) -> set[str]:
    """``value`` as JSON writers spell it: with letters as they are, or as escapes with small or with capital digits."""
    small = json.dumps(value)[1:-1]
    capital = re.sub(r"\\u[0-9a-f]{4}", lambda match: "\\u" + match.group()[2:].upper(), small)
    found = {json.dumps(value, ensure_ascii=False)[1:-1], small, capital}
    for_html = str.maketrans({"&": "\\u0026", "<": "\\u003c", ">": "\\u003e"})  # as Go does
    return found | {form.translate(for_html) for form in found}


def _any_of(forms: Iterable[str]) -> re.Pattern[str]:
    """Finds the longest of ``forms``; those that begin alike stand together, so each place has few to try."""
    alike: dict[str, list[str]] = {}
    for form in sorted(forms, key=lambda form: (-len(form), form)):
        alike.setdefault(form[0], []).append(re.escape(form))
    return re.compile("|".join(f"(?:{'|'.join(group)})" for group in alike.values()))


@cache
def default_redactor() -> Redactor:
    """The redactor of this process; resolved secrets register themselves here."""
    return Redactor()


def redact(text: str) -> str:
    """``text`` cleaned by the process's redactor."""
    return default_redactor().clean(text)


def redact_processor(_logger: Any, _method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor; place it after exceptions were formatted and before the renderer."""
    redactor = default_redactor()
    for key, value in event_dict.items():
        event_dict[key] = redactor.clean_value(value)
    return event_dict


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "_logger", "_name"}


class RedactingFilter(logging.Filter):
    """Cleans a record whole: message with its arguments, extras, exception and stack texts. Put it on handlers.

    A filter on a *logger* does not see records of that logger's children; one on a handler sees everything.
    ``formatted``: the handler's formatter has :func:`redact_processor`, so our own lines (mappings) need it once only.
    """

    def __init__(self, redactor: Redactor | None = None, *, formatted: bool = False) -> None:
        super().__init__()
        self._redactor = redactor
        self._formatted = formatted

    def filter(self, record: logging.LogRecord) -> bool:
        """Always passes the record on, cleaned."""
        redactor = self._redactor or default_redactor()
        if isinstance(record.msg, Mapping):
            if self._formatted:
                return True
            record.msg = redactor.clean_value(record.msg)
        else:
            record.msg = redactor.clean(_message(record))
            record.args = None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redactor.clean(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = redactor.clean(record.exc_text)
        if record.stack_info:
            record.stack_info = redactor.clean(record.stack_info)
        for key in vars(record).keys() - _STANDARD:
            setattr(record, key, redactor.clean_value(getattr(record, key)))
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


def protect_logging(logger: logging.Logger | None = None, redactor: Redactor | None = None) -> int:
    """Put a :class:`RedactingFilter` on every handler of ``logger`` (default: the root); returns how many had none.

    HTTP clients' loggers are raised to WARNING as well: they name URLs at INFO.
    """
    changed = 0
    for handler in (logger or logging.getLogger()).handlers:
        if not any(isinstance(each, RedactingFilter) for each in handler.filters):
            handler.addFilter(RedactingFilter(redactor))
            changed += 1
    for name in ("httpx", "httpx2", "httpcore"):
        quiet = logging.getLogger(name)
        quiet.setLevel(max(quiet.level, logging.WARNING))
    return changed
