"""Shows replies in Slack: statuses, drafts as they grow, answers with their sources and buttons, and hand-offs, each once."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp

from agent import wording
from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import Address, Answer, Attachment, Citation, Delivery, Handoff, Message, Shown, Withdrawn
from connectors.connector import Posts
from connectors.showing import FINAL_SECONDS, Clock, Patience, Showing, Turn
from connectors.slack import blocks
from connectors.slack.clients import (
    Clients,
    Doubtful,
    Json,
    Limited,
    Refused,
    delivery_error,
    download,
    metadata_of,
    outsiders_read,
)
from connectors.slack.drafts import STREAM_SECONDS, LiveDraft, Standing
from connectors.slack.outgoing import USUAL_MARKDOWN, escape, for_mrkdwn, messages
from connectors.slack.pace import Calls, Pace, Place, Refusals, Surface

_log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""After that long a stream that cannot be ended is given its last words, and is ended later."""
_RESPONSE_MINUTES = 29
"""A response_url takes five posts within 30 minutes (docs.slack.dev, handling user interaction)."""
_MOST_RESPONSES = 5
_LONGEST_TITLE = 200
"""Characters of a session's title (agents.sessions.setStatus)."""
_TICKET_SECONDS = 24 * 3600
"""How far back a ticket's post is looked for that was made and not kept."""
_STYLES = ((USUAL_MARKDOWN, False), (5_000, False), (3_000, True), (900, True), (450, True))
"""How a reply is shown: characters of a part, and whether as text without blocks. The next where one is refused."""
_LONGEST_SOURCES = 2_000
"""Bytes of sources below a text without blocks; of more only some are named."""
_TOO_LONG = frozenset(["msg_too_long", "msg_blocks_too_long", "markdown_text_too_long"])


_Turn = Turn[Standing, LiveDraft, Surface]


class SlackDelivery(Showing[Standing, LiveDraft, Surface]):
    """Delivers to all workspaces. `agent_view`: the app is declared an agent, so it has sessions.

    `stream_seconds` is how long a native stream is written on, `final_seconds` how long a final reply is tried.
    """

    def __init__(
        self,
        clients: Clients,
        posts: Posts,
        *,
        agent_view: bool = True,
        clock: Clock = time.monotonic,
        pace: Pace | None = None,
        stream_seconds: float = STREAM_SECONDS,
        final_seconds: float = FINAL_SECONDS,
    ) -> None:
        super().__init__(clock=clock, final_seconds=final_seconds)
        self._clients = clients
        self._posts = posts
        self._agent_view = agent_view
        self._pace = pace or Pace(clock)
        self._stream_seconds = stream_seconds
        self._refusals = Refusals()

    async def outsiders(self, address: Address) -> bool:
        """Whether people from outside read at an address now."""
        return await outsiders_read(self._clients, address)

    async def fetch(self, address: Address, attachment: Attachment, most_bytes: int) -> bytes:
        """The first bytes of a file. Raises `DeliveryError`."""
        return await download(self._clients, address, attachment, most_bytes)

    async def notify(self, room: Address, ticket: Ticket) -> str:
        """Post a ticket in the staff's room, once, with a link to the conversation. Raises `DeliveryError`."""
        about = ticket.conversation
        place = Place(room.space, room.room, room.thread)
        calls = Calls(self._clients, self._pace, room.space)
        since = f"{time.time() - _TICKET_SECONDS:.6f}"
        standing = Standing(calls, self._posts, f"ticket-{ticket.number}", place, since, self._claimed)
        standing.streams = False
        patience = self._patience("post a ticket for the staff")
        await standing.recall()
        if 0 not in standing.parts:
            standing.doubt = True
            same = (about.connector, about.space) == (room.connector, room.space)
            link = await self._permalink(about) if same else ""
            fallback = escape(f"Ticket #{ticket.number}: {' '.join(ticket.question.split())[:200] or ticket.reason}")
            shown = blocks.ticket_blocks(
                number=ticket.number,
                customer=await self._named(ticket),
                reason=wording.REASONS.get(ticket.reason, ticket.reason),
                question=ticket.question,
                summary=ticket.summary,
                link=link or None,
                status=ticket.status,
            )
            content: Json = {"text": fallback, "blocks": shown}
            try:
                try:
                    await standing.put(0, content, patience)
                except Refused as refused:
                    if refused.final:
                        raise
                    plain = fallback + (f"\n<{link}>" if link else "")
                    await standing.put(0, {"text": plain, "blocks": []}, patience)
            except Refused as refused:
                raise delivery_error("post a ticket for the staff", refused) from None
        return standing.parts[0]

    # Turns.

    def _begin(self, delivery: Delivery) -> _Turn:
        question, address = delivery.question, delivery.address
        thread = question.reply_in if question and question.reply_in else address.thread
        place = Place(address.space, address.room, thread)
        calls = Calls(self._clients, self._pace, address.space)
        asked = _ts_of(delivery.turn) or (_ts_of(question.id) if question else "")
        standing = Standing(calls, self._posts, delivery.turn, place, asked, self._claimed)
        recipient = (question.author, question.author_space or address.space) if question and question.author else None
        draft = LiveDraft(standing, self._refusals, recipient, self._stream_seconds)
        session = _session_of(question, thread) if self._agent_view else None
        return Turn(standing, draft, Surface(calls, place, self._refusals, standing.parts, session))

    # Final replies.

    async def _conclude(self, turn: _Turn, delivery: Delivery, event: Answer | Handoff | Withdrawn) -> None:
        patience = self._patience("show a reply")
        try:
            if isinstance(event, Withdrawn):
                await self._withdraw(turn, delivery, event, patience)
            elif not turn.standing.deleted:
                await self._reply(turn, event, patience)
        except Refused as refused:
            raise delivery_error("show a reply", refused) from None

    async def _reply(self, turn: _Turn, event: Answer | Handoff, patience: Patience) -> None:
        standing = turn.standing
        if standing.stopped and isinstance(event, Answer):
            return
        if standing.streaming:
            if isinstance(event, Answer) and await self._close_stream(turn, event, patience):
                return
            if standing.streaming and await standing.stop(
                patience, metadata=metadata_of(standing.turn, 0), **turn.surface.active()
            ):
                turn.surface.ended()
        if standing.stopped and isinstance(event, Answer):
            return
        without_blocks = False
        for number, (limit, plain) in enumerate(_STYLES):
            if without_blocks and not plain:
                continue
            try:
                await self._show(standing, event, limit, plain, patience)
                return
            except Refused as refused:
                if refused.final or number == len(_STYLES) - 1:
                    raise
                if not plain and refused.error not in _TOO_LONG:
                    without_blocks = True
                    _log.warning("Slack refused the blocks of a reply: %s", refused.error)

    async def _show(
        self, standing: Standing, event: Answer | Handoff, limit: int, plain: bool, patience: Patience
    ) -> None:
        """All parts in order, each in its old place if it has one; parts that are no longer needed are deleted."""
        contents = _contents(event, standing.turn, limit, plain)
        for part, content in enumerate(contents):
            if not await standing.put(part, content, patience):
                return
        for part in sorted(part for part in standing.parts if part >= len(contents)):
            await standing.remove(part, patience)

    async def _close_stream(self, turn: _Turn, event: Answer, patience: Patience) -> bool:
        """Append what the answer has more than the draft, with the sources and buttons below; false if that cannot be."""
        standing, calls = turn.standing, turn.standing.calls
        rest = turn.draft.rest(event.text)
        if rest is None:
            return False
        where: Json = {"channel": standing.place.channel, "ts": standing.parts[0]}
        below: Json = {"blocks": blocks.closing_blocks(event.citations, standing.turn)}
        below |= {"metadata": metadata_of(standing.turn, 0), **turn.surface.active()}
        try:
            soon = self._patience("end a stream", STOP_SECONDS)
            done = await standing.stop(soon, eager=bool(rest), **({"markdown_text": rest} if rest else {}), **below)
        except DeliveryError:
            # All words first; to end it may take longer.
            with suppress(Refused, Doubtful, Limited):
                if rest:
                    await calls.once("chat.appendStream", where | {"markdown_text": rest})
            done = await standing.stop(patience, **below)
        except Limited:
            # All words are shown before it waits to end the stream.
            try:
                await calls.surely("chat.appendStream", where | {"markdown_text": rest}, patience, repeat=False)
            except (Refused, Doubtful):
                standing.streaming = True
                return False
            done = await standing.stop(patience, **below)
        if done:
            turn.surface.ended()
        return done

    async def _withdraw(self, turn: _Turn, delivery: Delivery, event: Withdrawn, patience: Patience) -> None:
        standing = turn.standing
        if event.stopped:
            if 0 in standing.parts and (standing.streaming or delivery.resumed):
                await standing.stop(patience, metadata=metadata_of(standing.turn, 0), **turn.surface.active())
            return
        if standing.doubt and not standing.parts:
            await standing.find(patience)
        if standing.streaming and 0 in standing.parts:
            await standing.stop(patience)
        for part in sorted(standing.parts, reverse=True):
            await standing.remove(part, patience)

    # Private replies.

    async def _whisper(self, delivery: Delivery, question: Message, event: Shown) -> None:
        """A reply that only who asked sees. It cannot be changed later, so it is shown once."""
        if not isinstance(event, Answer | Handoff):
            return
        place = Place(delivery.address.space, delivery.address.room, question.reply_in or delivery.address.thread)
        calls = Calls(self._clients, self._pace, place.team)
        standing = Standing(calls, self._posts, delivery.turn, place, "", self._claimed)
        await standing.recall()
        patience = self._patience("show a private reply")
        contents = _private_contents(event, delivery.turn)
        by_url = self._clients.trusts(question.private_reply) and len(contents) <= _MOST_RESPONSES
        by_url = by_url and (datetime.now(UTC) - question.sent_at).total_seconds() < _RESPONSE_MINUTES * 60
        for part, content in enumerate(contents):
            if part in standing.parts:
                continue
            if by_url:
                by_url = await self._respond(question.private_reply, content)
            if not by_url:
                args: Json = {"channel": place.channel, "user": question.author, **content}
                # A conversation that is private to one person has a thread of ours, not of Slack's.
                args |= {"thread_ts": place.thread} if _ts_of(place.thread) else {}
                await self._post_ephemeral(calls, args, patience)
            await standing.keep(part, "ephemeral")

    async def _post_ephemeral(self, calls: Calls, args: Json, patience: Patience) -> None:
        try:
            try:
                await calls.surely("chat.postEphemeral", args, patience)
            except Refused as refused:
                if refused.final or refused.error == "missing_scope":
                    raise
                plain = {name: value for name, value in args.items() if name != "blocks"}
                await calls.surely("chat.postEphemeral", plain, patience)
        except Refused as refused:
            raise delivery_error("show a private reply", refused) from None

    async def _respond(self, url: str, content: Json) -> bool:
        """Post to a response_url; false if it is not taken there."""
        body = {"response_type": "ephemeral", "replace_original": False, **content}
        for pause in (0.5, 0):
            try:
                async with self._clients.session.post(url, json=body, allow_redirects=False) as response:
                    if response.status < 300:
                        return True
                    if response.status < 500 and response.status != 429:
                        return False
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(pause)
        return False

    async def _named(self, ticket: Ticket) -> str:
        """The customer's name and id, the id alone where the name cannot be had."""
        about, person = ticket.conversation, ticket.customer.rpartition("/")[2]
        try:
            told = await Calls(self._clients, self._pace, about.space).once("users.info", {"user": person})
        except (Refused, Limited, Doubtful, DeliveryError):
            return person
        user = told.get("user") or {}
        name = str((user.get("profile") or {}).get("real_name") or user.get("real_name") or user.get("name") or "")
        return f"{name} ({person})" if name else person

    async def _permalink(self, about: Address) -> str:
        if not about.thread:
            return ""
        try:
            args = {"channel": about.room, "message_ts": about.thread}
            told = await Calls(self._clients, self._pace, about.space).once("chat.getPermalink", args)
        except (Refused, Limited, Doubtful, DeliveryError):
            return ""
        return str(told.get("permalink") or "")


def _ts_of(message_id: str) -> str:
    """The ts in the id of a message, `slack:T1/C1#1699000000.000100`; nothing if it has none."""
    ts = message_id.rpartition("#")[2]
    return ts if ts.replace(".", "", 1).isdecimal() else ""


def _session_of(question: Message | None, thread: str) -> Json:
    """What a session is made with: the question is its title."""
    if question is None:
        return {}
    title = blocks.shortened(" ".join(question.text.split()), _LONGEST_TITLE) if _ts_of(question.id) == thread else ""
    return ({"title": title} if title else {}) | ({"initiator_user_id": question.author} if question.author else {})


def _cited(event: Answer | Handoff) -> tuple[Citation, ...]:
    return event.citations if isinstance(event, Answer) else ()


def _contents(event: Answer | Handoff, turn: str, limit: int, plain: bool) -> list[Json]:
    """A reply as posts: sources and buttons below the last one."""
    parts = messages(event.text, limit) or ["…"]
    contents: list[Json] = []
    for part, text in enumerate(parts):
        is_last = part == len(parts) - 1
        fallback = blocks.plain_fallback(text, _cited(event) if is_last else ())
        shown: list[Json] = []
        if plain:
            sources = blocks.sources_mrkdwn(event.citations) if isinstance(event, Answer) and is_last else ""
            if len(sources.encode()) < _LONGEST_SOURCES:
                fallback = for_mrkdwn(text) + (f"\n\n{sources}" if sources else "")
        elif isinstance(event, Handoff):
            shown = blocks.handoff_blocks(text, turn)
        else:
            shown = blocks.answer_blocks(text, event.citations, turn, final_part=is_last)
        contents.append({"text": fallback, "blocks": shown})
    return contents


def _private_contents(event: Answer | Handoff, turn: str) -> list[Json]:
    parts = messages(event.text) or ["…"]
    contents: list[Json] = []
    for part, text in enumerate(parts):
        citations = _cited(event) if part == len(parts) - 1 else ()
        if isinstance(event, Handoff):
            shown = blocks.handoff_blocks(text, turn)
        elif part == len(parts) - 1:
            shown = blocks.private_blocks(text, citations, turn)
        else:
            shown = blocks.answer_blocks(text, (), turn, final_part=False)
        contents.append({"text": blocks.plain_fallback(text, citations), "blocks": shown})
    return contents
