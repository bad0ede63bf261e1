"""The tags of a forum's posts that say how far a question is: answered, needs a person, resolved."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from connectors.discord.desk import FAULTS
from connectors.discord.rest import Rest
from connectors.discord.rooms import Rooms

State = Literal["answered", "needs a person", "resolved"]
_STATES: tuple[State, ...] = ("answered", "needs a person", "resolved")
MOST_TAGS = 5
_CHANNEL = "/channels/{channel_id}"

_log = logging.getLogger(__name__)


class Tags:
    """`names` are those of the tags for the states, in their order. A forum without such tags is left alone."""

    def __init__(self, rest: Rest, rooms: Rooms, names: Sequence[str]) -> None:
        self._rest, self._rooms, self._names = rest, rooms, names

    async def show(self, guild: int, thread: int, state: State) -> None:
        """Tag a post with a state, in the place of an earlier one. What fails is only logged."""
        try:
            if not (await self._rooms.facts(thread, guild)).is_post:
                return
            post = await self._rest.request("GET", _CHANNEL, channel_id=thread)
            forum = await self._rest.request("GET", _CHANNEL, channel_id=int(post["parent_id"]))
            before = [str(tag) for tag in post.get("applied_tags") or ()]
            after = tags_for(before, forum.get("available_tags") or (), self._names, state)
            if after != before:
                await self._rest.request("PATCH", _CHANNEL, json={"applied_tags": after}, channel_id=thread)
                self._rooms.forget(thread)
        except FAULTS as error:
            _log.info("the post %d could not be tagged as %s: %s", thread, state, error)


def tags_for(
    applied: Sequence[str], available: Sequence[Mapping[str, Any]], names: Sequence[str], state: State
) -> list[str]:
    """The ids of the tags that a post is to have; as before, when the forum has no tag for the state, or no room is left.

    What the customer chose stays.
    """
    by_name = {str(tag["name"]).strip().casefold(): str(tag["id"]) for tag in available}
    ours = {one: by_name.get(name.strip().casefold(), "") for one, name in zip(_STATES, names, strict=True)}
    topics = [tag for tag in applied if tag not in ours.values()]
    if not ours[state] or len(topics) >= MOST_TAGS:
        return list(applied)
    return [*topics, ours[state]]
