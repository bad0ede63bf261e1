"""Buttons, shortcuts and forms. What is said with them is received before it is acknowledged."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.messages import Address, Attachment, Feedback, Message, Shared, Solved
from connectors.slack.blocks import FEEDBACK, HELPFUL, PERSON, SHARE, SOLVED, UNHELPFUL, shown
from connectors.slack.channel_settings import save_settings
from connectors.slack.desk import Desk
from connectors.slack.events import files_of, identifier, time_of, timestamp
from connectors.slack.incoming import text_of
from connectors.slack.manifest import ASK_ABOUT_MESSAGE, NEW_REQUEST
from connectors.slack.people import FAULTS, within
from connectors.slack.views import ASK, PROMPT, REASON, SETTINGS, ask_view, question_of, reason_of, reason_view
from connectors.wording import ASK_YOURSELF, EXPIRED, GLAD, NOT_YOURS, NOTHING_TO_READ, PERSON_TEXT

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck

_OURS = "frontdesk_"
_LINKS = ("frontdesk_open",)
NOT_A_MEMBER = "I am not in this channel, so I cannot show it here. Type /invite and my name first."
NOT_TAKEN = "I could not take your question just now. Please send it once more."
_SECONDS_TO_ASK = 2.2
"""Of the three in which Slack wants to know what becomes of a form."""

_log = logging.getLogger(__name__)


class Actions:
    """What people do with the app's buttons and forms."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def clicked(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """A button; one of another app's or of an older version does nothing."""
        team = await self._desk.team_of(body)
        for action in body.get("actions") or ():
            name = str(action.get("action_id", "")) if isinstance(action, Mapping) else ""
            if team and name.startswith(_OURS) and name not in _LINKS:
                click = Click(team, body, action)
                if not click.user or not await self._done(name, click):
                    self._desk.note(body.get("response_url"), EXPIRED)
        await ack()

    async def _done(self, name: str, click: Click) -> bool:
        """Whether the button still means something."""
        if name.startswith(PROMPT):
            return await self._prompted(click)
        handlers = {
            FEEDBACK: self._judged,
            PERSON: self._wants_person,
            SOLVED: self._is_solved,
            SHARE: self._shared,
        }
        handler = handlers.get(name)
        return handler is not None and click.address is not None and await handler(click, click.address)

    async def _judged(self, click: Click, address: Address) -> bool:
        verdict, _, turn = click.value.partition("|")
        if verdict not in (HELPFUL, UNHELPFUL) or not click.is_turn(turn):
            return False
        await self._desk.receive(Feedback(address, turn, click.user, verdict == HELPFUL, click.at))
        if verdict == UNHELPFUL:
            view = reason_view(turn)
            view["private_metadata"] = json.dumps({"turn": turn, "room": address.room, "thread": address.thread})
            self._open(click.team, click.body, view)
        return True

    async def _wants_person(self, click: Click, address: Address) -> bool:
        if not click.is_turn(click.value) or not click.ts:
            return False
        desk = self._desk
        if not await self._may(click):
            desk.note(click.response_url, ASK_YOURSELF)
            return True
        outside = await desk.author_is_outside(click.team, click.user, click.home)
        message = Message(
            # Pressed twice in a moment, it is wanted once.
            id=f"{address.channel}#{desk.stamp(f'person {click.value} {click.user} {click.at:%Y%m%d%H%M}')}",
            address=address,
            author=click.user,
            role="customer",
            text=PERSON_TEXT,
            sent_at=click.at,
            wants_person=True,
            outsiders=outside or (not click.is_private and await desk.outsiders_read(address)),
            joins=click.is_top_of_direct_message,
            private_reply=click.response_url if click.is_private else "",
            author_space=click.home if click.home != click.team else "",
        )
        await desk.receive(message)
        return True

    async def _is_solved(self, click: Click, address: Address) -> bool:
        if not click.is_turn(click.value):
            return False
        if not await self._may(click):
            self._desk.note(click.response_url, NOT_YOURS)
            return True
        await self._desk.receive(Solved(address, click.value, click.user, click.at))
        self._desk.note(click.response_url, GLAD)
        return True

    async def _may(self, click: Click) -> bool:
        """Whether they asked what the button's turn answers, or are of the staff."""
        desk = self._desk
        asker = await desk.asker_of(click.value) if desk.asker_of is not None else ""
        return asker.rpartition("/")[2] in ("", click.user) or await desk.people.is_staff(click.team, click.user)

    async def _shared(self, click: Click, address: Address) -> bool:
        if not click.is_turn(click.value):
            return False
        if not click.is_private:
            # Only the asker is shown this button, and only in a message that only they see.
            self._desk.note(click.response_url, NOT_YOURS)
            return True
        if not address.room.startswith("D") and not await within(
            self._desk.settings.patience, self._is_member(click.team, address.room), True
        ):
            self._desk.note(click.response_url, NOT_A_MEMBER)
            return True
        await self._desk.receive(Shared(click.value, Address("slack", click.team, address.room), click.user, click.at))
        self._desk.later(
            self._desk.respond(click.response_url, {"delete_original": True}), "a shared answer stands twice"
        )
        return True

    async def _prompted(self, click: Click) -> bool:
        return bool(click.value) and await self.ask_directly(click.team, click.user, click.home, click.value)

    async def ask_directly(self, team: str, user: str, home: str, question: str) -> bool:
        """Ask in the direct message of a person and the app, where the question is shown first, for the answer to follow."""
        desk = self._desk
        try:
            opened = await desk.clients.request(team, "conversations.open", {"users": user})
            room = identifier(opened["channel"]["id"])
            words = "\n".join(f"> {line}" for line in shown(question, 2_900).split("\n"))
            post = {"channel": room, "text": words, "unfurl_links": False, "unfurl_media": False}
            ts = timestamp((await desk.clients.request(team, "chat.postMessage", post)).get("ts"))
        except FAULTS as error:
            _log.warning("a question could not be asked in a direct message: %s", error)
            return False
        address = Address("slack", team, room, ts)
        message = Message(
            id=f"{address.channel}#{ts}",
            address=address,
            author=user,
            role="customer",
            text=question,
            sent_at=time_of(ts),
            outsiders=await desk.author_is_outside(team, user, home),
            joins=True,
            author_space=home if home != team else "",
        )
        await desk.receive(message)
        return True

    # Shortcuts.

    async def shortcut(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """A shortcut: of a message, or of the composer."""
        team = await self._desk.team_of(body)
        if team and body.get("callback_id") == ASK_ABOUT_MESSAGE:
            await self._asked_about(team, body)
        elif team and body.get("callback_id") == NEW_REQUEST:
            self._open(team, body, ask_view())
        await ack()

    async def _asked_about(self, team: str, body: Mapping[str, Any]) -> None:
        desk = self._desk
        said = body.get("message")
        user, home, room = _user_of(body), _home_of(body), identifier(_mapping(body.get("channel")).get("id"))
        ts = timestamp(body.get("action_ts"))
        if not isinstance(said, Mapping) or not (user and room and ts and timestamp(said.get("ts"))):
            return
        text, attachments = text_of(said, bot_user=await desk.clients.bot_user(team)), files_of(said)
        if not text and not attachments:
            desk.note(body.get("response_url"), NOTHING_TO_READ)
            return
        here = await within(desk.settings.patience, self._is_member(team, room), False)
        thread = timestamp(said.get("thread_ts")) or timestamp(said.get("ts"))
        address = Address("slack", team, room, thread if here else private_thread(user))
        outside = await desk.author_is_outside(team, user, home)
        await desk.receive(
            asked(
                address,
                ts,
                user,
                home,
                text,
                outsiders=outside or (here and await desk.outsiders_read(address)),
                private_reply="" if here else str(body.get("response_url") or ""),
                attachments=attachments,
            )
        )

    async def _is_member(self, team: str, room: str) -> bool:
        if room.startswith("D"):
            return False
        found = await self._desk.clients.request(team, "conversations.info", {"channel": room})
        return bool(_mapping(found.get("channel")).get("is_member"))

    # Forms.

    async def submitted(self, body: dict[str, Any], ack: AsyncAck) -> None:
        """A form that was sent."""
        view = _mapping(body.get("view"))
        team, user = await self._desk.team_of(body), _user_of(body)
        kept = _kept(view)
        if team and user and view.get("callback_id") == SETTINGS:
            await ack(**await save_settings(self._desk, team, user, kept, _mapping(view.get("state"))))
            return
        if team and user and view.get("callback_id") == REASON:
            await self._told_why(team, user, kept, reason_of(_mapping(view.get("state"))))
        elif team and user and view.get("callback_id") == ASK:
            words = question_of(_mapping(view.get("state")))
            if words and not await self._asked(team, user, body, kept, words):
                # Nothing is stored: the form stays, with the words in it.
                await ack(response_action="errors", errors={"question": NOT_TAKEN})
                return
        await ack()

    async def _told_why(self, team: str, user: str, kept: Mapping[str, str], reason: str) -> None:
        turn, room = kept.get("turn", ""), identifier(kept.get("room"))
        if turn.startswith(f"slack:{team}/") and room and reason:
            address = Address("slack", team, room, kept.get("thread", ""))
            await self._desk.receive(Feedback(address, turn, user, False, datetime.now(UTC), reason))

    async def _asked(self, team: str, user: str, body: Mapping[str, Any], kept: Mapping[str, str], words: str) -> bool:
        """Whether the question is stored."""
        room, home = identifier(kept.get("room")), _home_of(body)
        if not room:
            return await within(_SECONDS_TO_ASK, self.ask_directly(team, user, home, words), False)
        ts = self._desk.stamp(str(_mapping(body.get("view")).get("id") or body.get("trigger_id")))
        outside = await self._desk.author_is_outside(team, user, home)
        address = Address("slack", team, room, private_thread(user))
        # By the command's address, for the app need not be in the channel.
        reply = kept.get("response_url") or f"ephemeral:{room}"
        await self._desk.receive(asked(address, ts, user, home, words, outsiders=outside, private_reply=reply))
        return True

    def _open(self, team: str, body: Mapping[str, Any], view: Mapping[str, Any]) -> None:
        open_view(self._desk, team, body, view)


class Click:
    """A button that somebody pressed, and where."""

    def __init__(self, team: str, body: Mapping[str, Any], action: Mapping[str, Any]) -> None:
        self.team, self.body = team, body
        self.user, self.home = _user_of(body), _home_of(body)
        value = action.get("value")
        self.value = value if isinstance(value, str) else ""
        self.ts = timestamp(action.get("action_ts"))
        self.at = time_of(self.ts) if self.ts else datetime.now(UTC)
        self.response_url = str(body.get("response_url") or "")
        self._container = _mapping(body.get("container"))
        self.is_private = bool(self._container.get("is_ephemeral"))
        channel = self._container.get("channel_id") or _mapping(body.get("channel")).get("id")
        self._room = identifier(channel)
        self._thread = timestamp(self._container.get("thread_ts")) or timestamp(
            _mapping(body.get("message")).get("thread_ts")
        )

    @property
    def is_top_of_direct_message(self) -> bool:
        """It stands in a direct message, outside threads."""
        return self._room.startswith("D") and not self._thread and not self.is_private

    @property
    def address(self) -> Address | None:
        """Whose conversation the message with the button belongs to."""
        if not self._room:
            return None
        thread = private_thread(self.user) if self.is_private else self._thread
        return Address("slack", self.team, self._room, thread or timestamp(self._container.get("message_ts")))

    def is_turn(self, turn: str) -> bool:
        """Whether a button's value is a turn of this workspace."""
        return turn.startswith(f"slack:{self.team}/") and "#" in turn


def private_thread(user: str) -> str:
    """The thread of the conversation in a channel that only one person sees."""
    return f"private-{user}"


def asked(
    address: Address,
    ts: str,
    user: str,
    home: str,
    text: str,
    *,
    outsiders: bool,
    private_reply: str,
    attachments: tuple[Attachment, ...] = (),
    wants_person: bool = False,
) -> Message:
    """What somebody asks by a command, a form or a shortcut: always as a customer."""
    return Message(
        id=f"{address.channel}#{ts}",
        address=address,
        author=user,
        role="customer",
        text=text,
        sent_at=time_of(ts),
        attachments=attachments,
        wants_person=wants_person,
        outsiders=outsiders,
        private_reply=private_reply,
        author_space=home if home != address.space else "",
    )


def open_view(desk: Desk, team: str, body: Mapping[str, Any], view: Mapping[str, Any]) -> None:
    """Open a form, as long as Slack lets it."""
    call = desk.clients.request(team, "views.open", {"trigger_id": body.get("trigger_id"), "view": view})
    desk.later(call, "a form could not be opened")


def _user_of(body: Mapping[str, Any]) -> str:
    return identifier(_mapping(body.get("user")).get("id"))


def _home_of(body: Mapping[str, Any]) -> str:
    return identifier(_mapping(body.get("user")).get("team_id"))


def _kept(view: Mapping[str, Any]) -> dict[str, str]:
    """What we put into a form's private_metadata."""
    try:
        found = json.loads(view.get("private_metadata") or "{}")
    except (TypeError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
