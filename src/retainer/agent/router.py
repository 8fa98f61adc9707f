"""The lexical router: which few capabilities a free text may mean, so that a model chooses among three, not sixty.

It proposes, it never decides. Whether money capabilities are proposed at all is a rule about the words, not a
similarity.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from retainer.agent.grammar import symbol_names
from retainer.agent.text import tokens, vocabulary
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass

FLOOR = 0.3
"""Least similarity (cosine, 0 to 1) at which a capability is proposed."""

ORDER_WORDS = vocabulary(
    "buy buys buying purchase sell sells selling short order orders liquidate dump close exit acquire invest long"
    " unload offload get grab"
)
"""A text without one of these never reaches a capability that moves money."""

_STOP_WORDS = vocabulary(
    "a an the is are was were be been am i me my we us our you your it its this that these those to of in on at for"
    " from by with and or so do does did doing done can could would will should shall may might have has had what"
    " whats how hows who when where which there here please tell show give about any some if then than just not no"
    " today tonight tomorrow yesterday now lately recently week weeks month months year years day days time"
    " im ill lets get got go make made want need like know think say said"
)
_ENDINGS = re.compile(r"(?:ing|ings|ed|es|s|ly)$")
SYMBOL = "<symbol>"
_SLOT = re.compile(r"\{[^}]*\}")
_MARKS = re.compile(r"[\[\]()|]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A capability a text may mean, with its similarity (0 to 1) and the sentence it was most like."""

    capability: Capability
    score: float
    like: str


def order_like(text: str) -> bool:
    """Whether ``text`` has a word that people use to order a trade."""
    return not ORDER_WORDS.isdisjoint(tokens(text))


def features(text: str, names: Mapping[str, str] | None = None) -> Counter[str]:
    """Content words of ``text``, endings cut, and their pairs; a known symbol or its name counts as *a symbol*."""
    known = names or {}
    words = [
        SYMBOL if word in known else _stem(word)
        for word in tokens(text)
        if word in known or (word not in _STOP_WORDS and not word.isdigit())
    ]
    pairs = [f"{one} {two}" for one, two in pairwise(words)]
    return Counter(words + pairs)


def _stem(word: str) -> str:
    cut = _ENDINGS.sub("", word)
    return cut if len(cut) >= 3 else word


class Router:
    """Similarity of a text to each capability's examples, phrases and description."""

    def __init__(
        self, capabilities: Sequence[Capability], corrections: Iterable[tuple[str, str]] = (), *, floor: float = FLOOR
    ) -> None:
        """``corrections``: (what a person wrote, name of the capability they meant)."""
        self._floor = floor
        self._by_name = {capability.name: capability for capability in capabilities}
        self._names = symbol_names(capabilities)
        lines: list[tuple[Capability, str]] = []
        for capability in capabilities:
            lines.extend((capability, line) for line in _sentences(capability))
        lines.extend((self._by_name[name], text) for text, name in corrections if name in self._by_name)
        counted = [(capability, line, features(line, self._names)) for capability, line in lines]
        seen: Counter[str] = Counter()
        for _, _, counts in counted:
            seen.update(counts.keys())
        total = max(1, len(counted))
        self._idf = {word: math.log(1 + total / count) for word, count in seen.items()}
        self._unseen = math.log(1 + total)
        self._lines = [(capability, line, self._weigh(counts)) for capability, line, counts in counted]
        self._by_word: dict[str, list[int]] = {}
        for index, (_, _, weights) in enumerate(self._lines):
            for word in weights:
                self._by_word.setdefault(word, []).append(index)

    def _weigh(self, counts: Mapping[str, int]) -> dict[str, float]:
        weights = {word: count * self._idf.get(word, self._unseen) for word, count in counts.items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {word: weight / norm for word, weight in weights.items()}

    def candidates(self, text: str, k: int = 3) -> list[Candidate]:
        """At most ``k`` capabilities, best first. Empty: nothing is near, so it is conversation.

        Capabilities that move money are among them only when the text is order-like, whatever the similarity.
        """
        weights = self._weigh(features(text, self._names))
        scores: dict[int, float] = {}
        for word, weight in weights.items():
            for index in self._by_word.get(word, ()):
                scores[index] = scores.get(index, 0.0) + weight * self._lines[index][2][word]
        money_allowed = order_like(text)
        best: dict[str, Candidate] = {}
        for index, score in scores.items():
            capability, line, _ = self._lines[index]
            if score < self._floor or (capability.effect_class is EffectClass.MONEY and not money_allowed):
                continue
            if capability.name not in best or best[capability.name].score < score:
                best[capability.name] = Candidate(capability, score, line)
        return sorted(best.values(), key=lambda one: (-one.score, one.capability.name))[:k]


def _sentences(capability: Capability) -> list[str]:
    phrases = [_MARKS.sub(" ", _SLOT.sub(" ", phrase)) for phrase in capability.phrases]
    return [*capability.examples, *phrases, capability.description]
