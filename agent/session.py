"""A conversation at a terminal: in memory, gone with the process. What customers write goes through `agent.turns` instead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from agent import wording
from agent.graph import SupportAgent
from agent.messages import Answer, Conversation, Delivery, Delta, Draft, Feedback, Handoff, Inbound, Message

_log = logging.getLogger(__name__)


class Session:
    """Answers what connectors hear. `deliver` shows replies; `handoff_message` is for the reply to an unforeseen error.

    Messages of one conversation are answered one after the other, those of different ones at once.
    """

    def __init__(
        self, agent: SupportAgent, deliver: Callable[[Delivery], Awaitable[None]], *, handoff_message: str
    ) -> None:
        self._agent = agent
        self._deliver = deliver
        self._handoff_message = handoff_message
        self._conversations: dict[str, Conversation] = {}
        self._order: dict[str, asyncio.Lock] = {}
        self._background: set[asyncio.Task[None]] = set()
        self.feedback: list[Feedback] = []
        """What people said of replies, oldest first."""

    def conversation(self, conversation_id: str) -> Conversation | None:
        """What was said so far in the conversation with this id (`str(address)`)."""
        return self._conversations.get(conversation_id)

    async def receive(self, inbound: Inbound) -> None:
        """Answer a message, or keep feedback. A message that was seen before (a redelivery) is not answered again."""
        if isinstance(inbound, Feedback):
            self.feedback.append(inbound)
        if not isinstance(inbound, Message):
            return
        key = str(inbound.address)
        async with self._order.setdefault(key, asyncio.Lock()):
            before = self._conversations.get(key, Conversation(inbound.address))
            if any(message.id == inbound.id for message in before.messages):
                return
            conversation = before.with_message(inbound)
            self._conversations[key] = conversation
            reply, filtered = await self._reply(conversation, inbound)
            if filtered:
                held = replace(inbound, withheld=True)
                conversation = replace(conversation, messages=(*conversation.messages[:-1], held))
            self._conversations[key] = conversation.with_message(reply)
        # Nobody waits for the summary of a long conversation; it is there for one of the next messages.
        task = asyncio.create_task(self._summarise(key))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def settle(self) -> None:
        """Wait for what is still done in the background."""
        await asyncio.gather(*self._background)

    async def _summarise(self, key: str) -> None:
        summary = await self._agent.summarise(self._conversations[key])
        if summary is not None:
            self._conversations[key] = replace(self._conversations[key], summary=summary)

    async def _reply(self, conversation: Conversation, message: Message) -> tuple[Message, bool]:
        """Make and show the reply, and tell whether a content filter stopped at the message.

        What goes wrong ends as an honest sentence.
        """
        result: Answer | Handoff | None = None
        draft = ""
        try:
            async with aclosing(self._agent.reply(conversation)) as events:
                async for event in events:
                    if isinstance(event, Answer | Handoff):
                        result = event
                    elif isinstance(event, Delta):
                        draft = event.after(draft)
                        await self._show(message, Draft(draft))
                    else:
                        await self._show(message, event)
        # Whatever it is, the customer gets an answer, and staff find the error in the log.
        except Exception as error:  # noqa: BLE001
            _log.exception("the turn %s failed", message.id)
            result = Handoff(
                "failed", wording.FAILED.format(next=self._handoff_message), f"{type(error).__name__}: {error}"
            )
        assert result is not None, "a reply ends with an Answer or a Handoff"
        await self._show(message, result)
        reply = Message(
            id=f"{message.id}/reply",
            address=message.address,
            author="frontdesk",
            role="agent",
            text=result.text,
            sent_at=datetime.now(UTC),
            outcome=result.outcome,
        )
        return reply, result.provenance.filtered

    async def _show(self, message: Message, event: object) -> None:
        await self._deliver(Delivery(message.address, message.id, event))  # type: ignore[arg-type]
