"""Replies that only who asked sees: by the token of their command, and as a direct message once it is too old."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from agent.messages import Answer, Delivery, Handoff, Message, Post, Shown, Withdrawn
from connectors.connector import Posts
from connectors.discord.drafts import Place, Standing
from connectors.discord.errors import (
    EXPIRED_TOKEN,
    INVALID_FORM,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    Refused,
)
from connectors.discord.ids import DIRECT, snowflake, snowflake_of
from connectors.discord.replies import STYLES, Json, contents
from connectors.discord.rest import Rest
from connectors.showing import Patience

_TOKEN_SECONDS = 14.5 * 60
"""A little less than a token lives (docs.discord.com/developers/interactions/receiving-and-responding)."""
_SECONDS_TO_ACKNOWLEDGE = 10.0
_PAUSE = 1.5
"""Before a command is answered again that may not be acknowledged yet. Discord wants no webhook to be asked for in vain."""
_MOST_LOST = 1_000
EPHEMERAL, _KEPT = 1 << 6, "ephemeral:"
_LOST = frozenset([UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION, EXPIRED_TOKEN, UNKNOWN_MESSAGE])
_WEBHOOK = "/webhooks/{webhook_id}/{webhook_token}"
_MESSAGE = _WEBHOOK + "/messages/{message_id}"
_ORIGINAL = "@original"

_log = logging.getLogger(__name__)


class Whispers:
    """`claimed` has the posts of all turns of this process."""

    def __init__(self, rest: Rest, posts: Posts, claimed: dict[tuple[str, str], str]) -> None:
        self._rest, self._posts, self._claimed = rest, posts, claimed
        self._lost: deque[str] = deque(maxlen=_MOST_LOST)

    async def show(self, delivery: Delivery, question: Message, event: Shown, patience: Patience) -> None:
        """Show a reply. A status or a draft is not shown: the person sees that an answer comes.

        Raises `Refused`, `Limited`, `Doubtful`, `DeliveryError`.
        """
        application, _, token = question.private_reply.removeprefix("interaction:").partition("/")
        names: Json = {"webhook_id": application, "webhook_token": token}
        age = (datetime.now(UTC) - question.sent_at).total_seconds()
        alive = bool(token) and token not in self._lost and age < _TOKEN_SECONDS
        if isinstance(event, Withdrawn):
            if alive and not event.stopped:
                await self._remove(delivery.turn, names, patience)
        elif isinstance(event, Answer | Handoff):
            await self._reply(delivery, question, event, names, alive, patience)

    async def _reply(
        self,
        delivery: Delivery,
        question: Message,
        event: Answer | Handoff,
        names: Json,
        alive: bool,
        patience: Patience,
    ) -> None:
        kept = {post.part: post.id for post in await self._posts.posts(delivery.turn) if post.id}
        by_token = {part: post.removeprefix(_KEPT) for part, post in kept.items() if post.startswith(_KEPT)}
        alive = alive and len(by_token) == len(kept)
        for style in STYLES:
            parts = contents(event, question.id, style, private=True)
            try:
                if alive and await self._answer(delivery, names, parts, by_token, patience):
                    return
                # What was shown by a token that is too old by now cannot be changed any more.
                if len(by_token) < len(parts):
                    await self._write_to(delivery, question, parts, patience)
                return
            except Refused as refused:
                if refused.code != INVALID_FORM or style is STYLES[-1]:
                    raise
                _log.warning("Discord refused a private reply as it was: %s", refused)

    # By the token.

    async def _answer(
        self, delivery: Delivery, names: Json, parts: Sequence[Json], shown: dict[int, str], patience: Patience
    ) -> bool:
        """Put the reply where "thinking" stands, and the rest below. False when the token leads nowhere."""
        for part, content in enumerate(parts):
            try:
                if part and part not in shown:
                    whole = {**content, "flags": content["flags"] | EPHEMERAL}
                    # Twice the same words for one person are better than none.
                    message = await self._rest.request(
                        "POST", _WEBHOOK, json=whole, repeat=True, patience=patience.left, **names
                    )
                else:
                    which = {"message_id": shown[part] if part else _ORIGINAL}
                    message = await self._changed(delivery, content, patience, **names, **which)
            except Refused as refused:
                if refused.code not in _LOST:
                    raise
                _log.info("a private reply does not reach its command: %s", refused)
                if shown and refused.code == UNKNOWN_MESSAGE:
                    # Who was shown it took it away.
                    return True
                self._lost.append(names["webhook_token"])
                return False
            shown[part] = str(message["id"])
            await self._posts.keep_post(Post(delivery.turn, part, _KEPT + shown[part]))
        for part in sorted(part for part in shown if part >= len(parts)):
            await self._delete(delivery.turn, part, shown[part], names, patience)
        return True

    async def _changed(self, delivery: Delivery, content: Json, patience: Patience, **names: Any) -> Any:
        try:
            return await self._rest.request("PATCH", _MESSAGE, json=content, patience=patience.left, **names)
        except Refused as refused:
            question = delivery.question
            age = (datetime.now(UTC) - question.sent_at).total_seconds() if question is not None else 0.0
            if refused.code not in _LOST or delivery.resumed or age > _SECONDS_TO_ACKNOWLEDGE:
                raise
        await asyncio.sleep(_PAUSE)
        return await self._rest.request("PATCH", _MESSAGE, json=content, patience=patience.left, **names)

    async def _remove(self, turn: str, names: Json, patience: Patience) -> None:
        """Take everything away, and "thinking" as well."""
        for post in sorted(await self._posts.posts(turn), key=lambda one: -one.part):
            if post.part and post.id.startswith(_KEPT):
                await self._delete(turn, post.part, post.id.removeprefix(_KEPT), names, patience)
        await self._delete(turn, 0, _ORIGINAL, names, patience)

    async def _delete(self, turn: str, part: int, message: str, names: Json, patience: Patience) -> None:
        with suppress(Refused):
            which: Json = {"message_id": message}
            await self._rest.request("DELETE", _MESSAGE, patience=patience.left, **names, **which)
        await self._posts.keep_post(Post(turn, part, ""))

    # As a direct message.

    async def _write_to(self, delivery: Delivery, question: Message, parts: Sequence[Json], patience: Patience) -> None:
        channel = snowflake(question.address.room)
        if question.address.space != DIRECT:
            opened = await self._rest.request(
                "POST",
                "/users/@me/channels",
                json={"recipient_id": question.author},
                repeat=True,
                patience=patience.left,
            )
            channel = snowflake(opened["id"])
        place = Place(0, channel, channel)
        standing = Standing(
            self._rest,
            self._posts,
            delivery.turn,
            place,
            self._claimed,
            asked=snowflake_of(question.id),
            marked=question.id,
        )
        await standing.recall()
        standing.doubt = delivery.resumed and not standing.parts
        for part, content in enumerate(parts):
            if await standing.put(part, content, patience) is None:
                return
        for part in sorted(part for part in standing.parts if part >= len(parts)):
            await standing.remove(part, patience)
