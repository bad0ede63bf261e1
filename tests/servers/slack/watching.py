"""What a test can see: what customers read now, and when it came."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tests.servers.slack.state import Call, Json, Message, State, View
from tests.servers.slack.texts import visible_text


@dataclass(frozen=True)
class Seen:
    """A message as a person sees it."""

    ts: str
    user: str
    text: str
    blocks: list[Json]
    metadata: Json | None
    edited: bool
    thread_ts: str
    ours: bool
    streaming: str
    reactions: dict[str, list[str]]
    files: list[Json]
    tasks: list[Json]

    @property
    def action_ids(self) -> list[str]:
        """The ids of all buttons and menus, in order."""
        return list(_action_ids(self.blocks))


class Watching(State):
    """Reads the state. Every method can be called from the test's thread."""

    def visible(self, channel: str, thread_ts: str | None = None) -> list[Seen]:
        """The messages of a channel that stand, in order; or those of one thread, root first."""
        with self.lock:
            room = self.channels[channel]
            messages = (
                [item for item in room.messages if not item.deleted] if thread_ts is None else room.thread(thread_ts)
            )
            return [self._seen(message) for message in messages]

    def replies_to(self, channel: str, ts: str) -> list[Seen]:
        """The app's messages in this thread."""
        return [seen for seen in self.visible(channel, ts) if seen.ours and seen.ts != ts]

    def ephemeral(self, user: str, channel: str | None = None) -> list[Seen]:
        """What only this person sees, as long as it stands."""
        with self.lock:
            rooms = [room for room in self.channels.values() if channel in (None, room.id)]
            found = [item for room in rooms for item in room.ephemerals if item.only_for == user and not item.deleted]
            return [self._seen(message) for message in sorted(found, key=lambda message: float(message.ts))]

    def _seen(self, message: Message) -> Seen:
        return Seen(
            message.ts,
            message.user,
            visible_text(message),
            copy.deepcopy(message.blocks or []),
            copy.deepcopy(message.metadata),
            message.edited is not None,
            message.thread_ts,
            self.is_ours(message),
            message.streaming,
            copy.deepcopy(message.reactions),
            copy.deepcopy(message.files),
            copy.deepcopy(list(message.tasks.values())),
        )

    def first_visible_at(self, channel: str, ts: str) -> float | None:
        """The monotonic time when the message first had text that a person could read."""
        with self.lock:
            return self._any(channel, ts).first_visible_at

    def last_changed_at(self, channel: str, ts: str) -> float | None:
        """The monotonic time of the message's last change."""
        with self.lock:
            changes = self._any(channel, ts).changed_at
            return changes[-1] if changes else None

    def changes(self, channel: str, ts: str) -> list[float]:
        """The monotonic times of each change that could be seen."""
        with self.lock:
            return list(self._any(channel, ts).changed_at)

    def _any(self, channel: str, ts: str) -> Message:
        room = self.channels[channel]
        return next(message for message in (*room.messages, *room.ephemerals) if message.ts == ts)

    def called(self, method: str) -> list[Call]:
        """The calls of one method, in order."""
        with self.lock:
            return [call for call in self.calls if call.method == method]

    @property
    def views(self) -> list[View]:
        """The modals that are open, oldest first."""
        with self.lock:
            return [view for view in self.view_table.values() if view.open and view.body["type"] == "modal"]

    def home_view(self, user: str) -> View | None:
        """The home tab of a user as a view."""
        with self.lock:
            views = self.view_table.values()
            return next((view for view in views if view.user == user and view.body["type"] == "home"), None)

    def home(self, user: str) -> Json | None:
        """What the app published as this user's home tab."""
        view = self.home_view(user)
        return copy.deepcopy(view.body) if view else None


def _action_ids(value: Any) -> list[str]:
    if isinstance(value, list):
        return [id_ for part in value for id_ in _action_ids(part)]
    if not isinstance(value, dict):
        return []
    own = [value["action_id"]] if "action_id" in value else []
    return own + [id_ for name, part in value.items() if name != "action_id" for id_ in _action_ids(part)]
