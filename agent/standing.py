"""Whether what a reply is written from may still be shown: staff may retire or change a document while it is written."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from agent import wording
from agent.messages import Answer, Delta, Handoff, ReplyEvent
from knowledge.base import KnowledgeBase
from knowledge.search import Cited, Hit

LOOK_SECONDS = 0.5
"""How often it is looked while a draft is shown."""
TRIES = 3
"""A reply whose documents are retired or changed while it is written is written again, so often in all."""
CHANGED = "The documents that fit were retired or changed while the answer was written."


class Sources:
    """The passages that a reply to `audiences` is written from."""

    def __init__(self, knowledge: KnowledgeBase, audiences: frozenset[str]) -> None:
        self._knowledge = knowledge
        self._audiences = audiences
        self._cited: tuple[Cited, ...] = ()
        self._editions: object = None
        self._looked = 0.0

    async def begin(self) -> None:
        """Note what is published, before anything is looked up."""
        self._editions = await self._knowledge.editions()
        self._looked = time.monotonic()

    def use(self, hits: Sequence[Hit]) -> None:
        """Write from these."""
        self._cited = tuple(Cited(hit.passage.document, hit.passage.text) for hit in hits)

    async def stand(self) -> bool:
        """Whether all of them may still be shown; asked every now and then, and cheap while nothing is published.

        Raises `StoreError`.
        """
        if not self._cited or time.monotonic() - self._looked < LOOK_SECONDS:
            return True
        self._looked = time.monotonic()
        editions = await self._knowledge.editions()
        if editions == self._editions:
            return True
        self._editions = editions
        return all(await self._knowledge.standing(self._cited, self._audiences))


async def stands(knowledge: KnowledgeBase, answer: Answer, audiences: frozenset[str]) -> bool:
    """Whether all that an answer cites may still be shown. Raises `StoreError`."""
    cited = [Cited(one.document, one.passage) for one in answer.citations]
    return not cited or all(await knowledge.standing(cited, audiences))


async def while_standing(
    knowledge: KnowledgeBase,
    audiences: frozenset[str],
    write: Callable[[Sources], AsyncGenerator[ReplyEvent]],
    otherwise: Handoff,
) -> AsyncGenerator[ReplyEvent]:
    """What `write` replies, as long as its sources stand; begun again when they do not, and in the end `otherwise`.

    Nothing more of a draft is passed on once its sources do not stand, and no answer that rests on what does not.
    """
    drafted = False
    for _ in range(TRIES):
        sources = Sources(knowledge, audiences)
        await sources.begin()
        anew = drafted
        async with aclosing(write(sources)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    if not await sources.stand():
                        break
                    event, anew, drafted = replace(event, anew=anew), False, True
                elif isinstance(event, Answer) and not await stands(knowledge, event, audiences):
                    break
                yield event
            else:
                return
        if drafted:
            yield Delta(wording.AGAIN, anew=True)
    yield otherwise
