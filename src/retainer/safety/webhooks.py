"""Web hooks: was it really sent by the provider, just now, and for the first time?

Signatures follow the providers' own pages: Twilio's ``X-Twilio-Signature`` (HMAC-SHA1 over URL and sorted form
fields; of JSON the URL holds a digest), Meta's ``X-Hub-Signature-256`` (HMAC-SHA256 over the raw body), Telegram's
``X-Telegram-Bot-Api-Secret-Token`` (the secret itself). All comparisons take constant time. No provider signs a time
that binds its request, so :func:`first_time` remembers message ids in the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from retainer.core.clock import to_epoch
from retainer.core.protocols import Tx
from retainer.safety.identity import keepable

WINDOW = timedelta(minutes=5)
"""How old, or how far ahead, a stated sending time may be."""
KEEP = timedelta(days=400)
"""How long ids are remembered: longer than any provider retries."""
_DIGEST = "bodySHA256"


def twilio_signed(
    auth_token: str,
    url: str,
    form: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]] | bytes,
    signature: str | None,
) -> bool:
    """Whether Twilio signed this request. ``url`` is the whole address the hook was registered with.

    ``form`` holds the fields of a form, empty ones too, or is the body of any other request (JSON) as it arrived: of
    that, Twilio puts a digest into the URL. A port counts whether it is written or not, as in Twilio's own libraries.
    """
    try:
        spellings = _ports(url)
        digests = parse_qs(urlsplit(url).query).get(_DIGEST, [])
        fields = [] if isinstance(form, bytes) else sorted(set(_fields(form)))
    except (TypeError, ValueError):
        return False
    if isinstance(form, bytes):
        stated = digests[0].casefold().encode(errors="replace") if digests else b""
        if not hmac.compare_digest(hashlib.sha256(form).hexdigest().encode(), stated):
            return False
    elif digests and not fields:
        return False  # there is a body, and nobody looked at it
    rest = "".join(f"{name}{value}" for name, value in fields)
    return any(_same(auth_token, _twilio(auth_token, spelling + rest), signature) for spelling in spellings)


def _twilio(auth_token: str, text: str) -> bytes:
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(errors="surrogatepass"), hashlib.sha1).digest())


def _ports(url: str) -> tuple[str, ...]:
    """``url`` as it is, and with its port left out or put in."""
    parts = urlsplit(url)
    if not parts.hostname:
        return (url,)
    place = parts.netloc
    port = f":{parts.port or {'http': 80}.get(parts.scheme, 443)}"
    bare = place if parts.port is None else place[: place.rindex(":")]
    return (url, *(url.replace(f"//{place}", f"//{other}", 1) for other in (bare, bare + port)))


def _fields(form: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, given in form.items() if isinstance(form, Mapping) else form:
        values = [given] if isinstance(given, str) else given
        if not (isinstance(name, str) and isinstance(values, Sequence) and all(isinstance(v, str) for v in values)):
            raise TypeError
        yield from ((name, value) for value in values)


def meta_signed(app_secret: str, body: bytes, signature: str | None) -> bool:
    """Whether Meta (WhatsApp, Messenger) signed these bytes. Pass the body as it arrived, before any parsing."""
    expected = "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()
    return _same(app_secret, expected.encode(), signature)


def telegram_signed(secret_token: str, header: str | None) -> bool:
    """Whether the request carries the secret token that was given to ``setWebhook``."""
    return _same(secret_token, secret_token.encode(), header)


def timed_signed(secret: str, body: bytes, timestamp: str | None, signature: str | None, now: datetime) -> bool:
    """HMAC-SHA256 in hex over ``timestamp.body``, for hooks of one's own; stale and future times are refused."""
    if not (isinstance(timestamp, str) and timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(to_epoch(now) - int(timestamp)) > WINDOW.total_seconds():
        return False
    expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return _same(secret, expected.encode(), signature)


def first_time(tx: Tx, source: str, message_id: str, now: datetime, *, sent_at: datetime | None = None) -> bool:
    """Whether this message was never seen before, and was sent within :data:`WINDOW` where ``sent_at`` is known.

    Remembers it in the transaction of ``tx``: of two requests at once only one is the first.
    """
    if not (message_id and keepable(message_id)):
        return False
    if sent_at is not None and abs(now - sent_at) > WINDOW:
        return False
    tx.execute("DELETE FROM webhook_seen WHERE at < ?", (to_epoch(now - KEEP),))
    fresh = tx.execute(
        "INSERT INTO webhook_seen (source, message_id, at) VALUES (?, ?, ?) "
        "ON CONFLICT (source, message_id) DO NOTHING",
        (source, message_id, to_epoch(now)),
    )
    return bool(fresh)


def _same(secret: str, expected: bytes, given: str | None) -> bool:
    """An empty secret signs nothing: a hook without one is closed, not open. So is a request without its header."""
    return (
        bool(secret)
        and isinstance(given, str)
        and hmac.compare_digest(expected, given.strip().encode("utf-8", "replace"))
    )
