"""What is asked now: all that customers said since the last reply, with the files that came with it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent import policy, wording
from agent.attachments import PICTURE
from agent.excerpts import plain_name, reads_like_log, telling_lines
from agent.guard import LONGEST_MESSAGE, receive
from agent.messages import Attachment, Conversation, Message
from agent.prompting import by_speaker

MOST_MESSAGES = 12
"""Of a burst that are answered together."""
MOST_ATTACHMENTS = 8
"""With text, that a model is told of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, however many messages it took.

    `words` is what was said, `spoken` the same with who said it where several did. `core` are the messages that ask, where
    there are others, and `telling` is what to look the files up by: for when the words together find nothing. `shortened` is
    the sentence that tells the customer what was left out. `before` is the rest of the conversation.
    """

    words: str
    spoken: str
    intent: policy.Intent
    attachments: tuple[Attachment, ...] = ()
    telling: str = ""
    core: str = ""
    shortened: str = ""
    before: tuple[Message, ...] = ()

    @property
    def not_read(self) -> str:
        """The sentence about the files that could not be read; empty when there are none."""
        return wording.not_read([(plain_name(one.name), one.unread) for one in self.attachments if one.unread])

    @property
    def says_nothing(self) -> bool:
        """Whether the words alone ask for nothing: there are none, or only a greeting."""
        return policy.intent_of(self.words) in ("empty", "small_talk")


def asked(conversation: Conversation) -> Asked:
    """What is asked at the end of a conversation, since somebody last replied."""
    messages = conversation.messages
    now: Sequence[Message] = [message for message in messages if message.id in conversation.pending]
    if not now:
        now = messages[len(messages) - _unanswered(messages) :]
    before = tuple(message for message in messages if message not in now)
    chosen: list[Message] = []
    texts: list[str] = []
    room = LONGEST_MESSAGE
    shortened = ""
    # The latest words count most: of too many, the first are left out.
    for message in reversed(now):
        if message.withheld and message is not now[-1]:
            continue
        received = receive(message.text)
        if chosen and (len(received.text) > room or len(chosen) == MOST_MESSAGES):
            shortened = wording.SKIPPED
            break
        shortened = wording.SHORTENED if received.shortened else shortened
        chosen.insert(0, message)
        texts.insert(0, received.text)
        room -= len(received.text)
    attached = [one for message in chosen for one in message.attachments]
    read = [one for one in attached if one.text][-MOST_ATTACHMENTS:]
    attachments = (*read, *(one for one in attached if one.unread and not one.text))
    intent = _intent(texts, attachments)
    if any(message.wants_person for message in now) and intent != "crisis":
        intent = "person"
    return Asked(
        words="\n".join(text for text in texts if text),
        spoken=by_speaker(chosen, texts, before),
        intent=intent,
        attachments=attachments,
        telling="\n".join(telling_lines((one.text or "").removeprefix(PICTURE)) for one in read[-2:]),
        core=_core(texts),
        shortened=shortened,
        before=before,
    )


def _unanswered(messages: Sequence[Message]) -> int:
    """How many messages at the end are customers', with no reply behind them; one where staff ask the agent."""
    count = 0
    for message in reversed(messages):
        if message.role != "customer":
            break
        count += 1
    return count or min(1, len(messages))


def _core(texts: Sequence[str]) -> str:
    """Of several messages those with a question mark, else the longest; nothing of a single one."""
    if len(texts) < 2:
        return ""
    return "\n".join(text for text in texts if "?" in text or "\uff1f" in text) or max(texts, key=len)


def _intent(texts: Sequence[str], attachments: Sequence[Attachment]) -> policy.Intent:
    """What the messages are together. A cry for help or for a person in one of them is not drowned by the others."""
    together, each = policy.intent_of("\n".join(texts)), [policy.intent_of(text) for text in texts]
    for urgent in ("crisis", "person"):
        if urgent in (together, *each):
            return urgent
    if set(each) - {"small_talk", "empty"} == {"action"}:
        return "action"
    if together not in ("small_talk", "empty"):
        return together
    read = [one for one in attachments if one.text]
    if not read:
        # Nothing but files that could not be read is as good as nothing said.
        return "empty" if attachments else together
    for one in read:
        # A long message becomes a file on some platforms.
        written = policy.intent_of(one.text or "")
        if written in ("crisis", "person") and not reads_like_log(one.text or "", one.name):
            return written
    return "question"
