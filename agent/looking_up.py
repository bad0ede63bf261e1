"""What the documents say to a question: one search, and one more for each of several questions in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent import policy
from agent.prompting import fitting
from knowledge.base import KnowledgeBase
from knowledge.search import Query, SearchResult

LOOK_UP = 6
"""Passages that are retrieved for an answer."""
EACH_PART = 2
"""Passages for each question of a message that asks several."""


async def look_up(
    knowledge: KnowledgeBase, asked: str, leaning: str, audiences: frozenset[str], *, rewritten: bool
) -> SearchResult:
    """Search for the question that stands alone; what was said instead or before (`leaning`) counts a little, too.

    `rewritten`: a model has put the question in full. What nobody has, and points back, leans on what was said.
    """
    leans = bool(leaning) and not rewritten and policy.leans_on_conversation(asked)
    query = Query(asked, LOOK_UP, leaning, leans, audiences)
    found = await knowledge.search(query)
    parts: Sequence[str] = () if leans else policy.parts_of(asked)
    if len(parts) > 1:
        # One question of several would take all the places.
        others = [await knowledge.search(replace(query, text=part, context=asked, limit=EACH_PART)) for part in parts]
        ranked = [hit for one in others for hit in one.hits] + list(found.hits)
        hits = {hit.passage.id: hit for hit in ranked}
        confidence = max(one.confidence for one in (found, *others))
        found = replace(found, hits=tuple(hits.values()), confidence=confidence)
    return replace(found, hits=fitting(found.hits))
