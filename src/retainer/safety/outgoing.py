"""What a reply may carry: no secret, nothing that loads by itself, and its untrusted sources named."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from retainer.core.values import Json
from retainer.safety.redact import default_redactor

# No part of these may run over the beginning of another match: a text of nothing but beginnings would take for ever.
_IMAGE = re.compile(r"!\[([^\[\]]*)\]\(([^()]*)\)|<img\b[^<>]*>", re.IGNORECASE)
_LINK = re.compile(r"\[([^\[\]]*)\]\((\w+:[^()\[\]\s]*)[^()\[\]]*\)")
_LOADING = (
    "img|image|picture|source|iframe|frame|embed|object|video|audio|track|link|script|style|svg|use|base|meta|form"
)
_BEGINNINGS = re.compile(rf"!(?=\[)|<(?=(?:{_LOADING})\b|[a-z][^\s/<>]*[\s/])|(?<=\])(?=[(\[:])", re.IGNORECASE)
"""Of pictures, links and references in any other spelling, such as nested brackets, of tags that load something, and of
those that have attributes."""
_SPACED = {"!": "", "<": "< ", "": " "}
"""What becomes of a beginning, so that it is none."""
_REST = r"[^\s<>\"]*"
_MESSAGES = ("mailto:", "sms:", "smsto:", "tel:", "xmpp:", "magnet:", "bitcoin:")
"""Schemes of links that write to somebody; a query is what they write."""
_URL = re.compile(
    rf"(?:https?|ftp|wss?)://{_REST}|(?<![a-z])(?:(?:data|javascript|vbscript|file):|(?:{'|'.join(_MESSAGES)})|[a-z][a-z0-9+.-]{{1,20}}://|www\.){_REST}"
    rf"|(?<![:\w/])//\w{_REST}|(?<![\w@.-])(?:[\w-]{{1,63}}\.){{1,8}}(?:xn--[\w-]{{1,59}}|[^\W\d_]{{2,24}})(?::\d{{1,5}})?[/?#]{_REST}",
    re.IGNORECASE,
)
"""With a scheme or without one, up to the next space."""
_PUNCTUATION = ".,;:!?')]}"
_RUNS = ("data:", "javascript:", "vbscript:", "file:")
"""Schemes that run or embed what they hold."""
_SHORT = 2
"""Texts up to this length are in any URL."""
_ENDS = "\\')]}"
REMOVED = "[link removed]"


def urls_in(text: str) -> frozenset[str]:
    """Every URL that stands in ``text``, without the punctuation around it, and what it is if a bracket, a quote or an
    escape ends it.
    """
    found = (match.partition(end)[0] for match in _URL.findall(text) for end in (" ", *_ENDS))
    return frozenset(url.rstrip(_PUNCTUATION) for url in found)


def returned(asked: Json, result: Json) -> frozenset[str]:
    """The URLs in a result that a tool did not only say back: what could carry something was not in the question."""
    said = str(asked)
    texts = [each for each in _texts(asked) if len(each) > _SHORT]
    found = urls_in(str(result)) - urls_in(said)
    return frozenset(
        url
        for url in found
        if not (tail := _tail(url)) or (tail not in said and not any(each in tail for each in texts))
    )


def _tail(url: str) -> str:
    """What follows the first mark of a URL that could carry something."""
    mark = re.search(r"[?#@]", url)
    return "" if mark is None else url[mark.end() :]


def _texts(value: Json) -> Iterator[str]:
    """All texts and numbers in ``value``, and what is no usual name of one."""
    if isinstance(value, Mapping):
        value = [*(name for name in value if not name.isidentifier()), *value.values()]
    if isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    else:
        yield str(value)


def clean_output(text: str, *, seen: Collection[str] = (), sources: Sequence[str] = ()) -> str:
    """``text`` for its reader.

    Known secrets are taken out, and what looks like one unless it is part of a URL of ``seen``. Where untrusted text
    was read, pictures are named instead of loaded and a link shows where it leads. A URL that could carry data away (a
    query, a fragment, a scheme that runs or embeds) is taken out unless it is one of those ``seen``: what the owner
    wrote or a tool returned to the letter holds nothing that was put into it. The last line names the sources.
    """
    text = _without_secrets(text, seen)
    if not sources:
        return text
    text = _IMAGE.sub(lambda match: f"[picture{': ' + match.group(1) if match.group(1) else ''}]", text)
    text = _LINK.sub(lambda match: f"{match.group(1)} ({match.group(2)})", text)
    text = _BEGINNINGS.sub(lambda match: _SPACED[match.group()], text)
    text = _URL.sub(lambda match: match.group() if _harmless(match.group(), seen) else _removed(match.group()), text)
    return f"{text}\n(With text from outside: {', '.join(sources)}.)"


def _without_secrets(text: str, seen: Collection[str]) -> str:
    redactor, parts, end = default_redactor(), [], 0
    for match in _URL.finditer(text):
        if match.group().rstrip(_PUNCTUATION) in seen:
            parts += [redactor.clean(text[end : match.start()]), match.group()]
            end = match.end()
    return redactor.clean_known("".join(parts) + redactor.clean(text[end:]))


def _harmless(url: str, seen: Collection[str]) -> bool:
    bare = url.rstrip(_PUNCTUATION)
    if bare in seen:
        return True
    folded = bare.casefold()
    scheme, named, _ = folded.partition("://")
    web = not folded.startswith(_RUNS) and (not named or scheme in {"http", "https"})
    return web and not any(mark in bare for mark in ("?#" if folded.startswith(_MESSAGES) else "?#@"))


def _removed(url: str) -> str:
    closing = url[-1:]
    return REMOVED + (closing if closing in {")", "]"} and {")": "(", "]": "["}[closing] not in url else "")
