"""The nouns of a search: what is asked, what is found, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from knowledge.documents import PUBLIC, Passage

Mode = Literal["hybrid", "keyword"]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. `limit` counts passages.

    `context` is what was said before. It counts 0.3 of the question itself, which was measured to be best over real
    conversations (docs/decisions/search.md), and as much as the question when it `leans` on what was said, that is, makes
    no sense alone. Only documents of `audiences` are searched.
    """

    text: str
    limit: int = 8
    context: str = ""
    leans: bool = False
    audiences: frozenset[str] = frozenset({PUBLIC})

    @property
    def context_weight(self) -> float:
        """What was said before, as a share of the question itself."""
        return 1.0 if self.leans else 0.3


@dataclass(frozen=True, slots=True)
class Why:
    """What put a passage where it is. `dense` is the cosine, `None` without vectors; the next two are BM25 scores.

    `reranked` is the reranker's score on a scale of its own, `None` when none has scored the passage.
    """

    dense: float | None
    words: float
    grams: float
    matched: tuple[str, ...] = ()
    """Words of the question that the passage holds, the most telling first."""
    reranked: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. `score` is between 0 and 1 and only comparable within one search.

    It is what fusion gave to the place in the ranking, also where a reranker has put another passage there.
    """

    passage: Passage
    score: float
    why: Why
    audience: str = PUBLIC
    url: str | None = None
    updated: str | None = None


@dataclass(frozen=True, slots=True)
class Cited:
    """A passage that an answer rests on: its document's id, and its words."""

    document: str
    text: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first, and how far to trust that they answer the question.

    `confidence` is between 0 and 1 and comparable between searches of the same `mode`; docs/decisions/threshold.md says
    how it was fitted. `weights` tells how much each word of the question says in this knowledge base. `note` is a sentence
    or two for staff when search is not whole (no vectors, no reranker), else empty. `foreign`: the question's words are
    hardly any of those in the documents, as when it is in another language. `language` is that of the documents.
    """

    mode: Mode
    hits: tuple[Hit, ...] = ()
    confidence: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    foreign: bool = False
    language: str = "english"
