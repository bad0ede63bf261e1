"""A turn while it is told: what stands of it on the platform, and the draft that is written there as it grows.

A native stream (chat.startStream) where Slack allows one, else a post that is edited. One writer for each turn makes all its
calls one after the other; what comes faster than it may write is merged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from agent.errors import DeliveryError, FrontdeskError
from connectors import showing
from connectors.connector import Posts
from connectors.showing import Patience
from connectors.slack.clients import Doubtful, Json, Limited, Refused, metadata_of, number, part_of
from connectors.slack.outgoing import LONGEST_MARKDOWN, Appending, messages
from connectors.slack.pace import BETWEEN_APPENDS, Calls, Place, Refusals

_log = logging.getLogger(__name__)

STREAM_SECONDS = 240.0
"""Slack ends a stream after about 306 s, whatever is appended (measured by several projects): it is left before."""
_LONGEST_STREAM = 11_500
_LOOK_WAITS = 65 / 60
"""Minutes: reading a thread is limited to once a minute for some apps (docs.slack.dev/changelog, 2025-05-29)."""
_MOST_PAGES = 5
_DRAFT_PATIENCE = 6.0
_LONGEST_TEXT = 4_000
"""Bytes of `text` in chat.update."""


class Standing(showing.Standing):
    """What stands in Slack for one turn.

    `asked` is the ts of the question, where it has one. `streams`: a post of it may be a stream, which nothing marks yet.
    """

    def __init__(
        self, calls: Calls, posts: Posts, turn: str, place: Place, asked: str, claimed: dict[tuple[str, str], str]
    ) -> None:
        super().__init__(posts, turn, place.channel, claimed)
        self.calls = calls
        self.place = place
        self.streams = True
        self.streaming = False
        self._asked = asked

    async def find(self, patience: Patience) -> None:
        """Look on the platform for posts of this turn, when some may not be known."""
        method = "conversations.replies" if self.place.thread else "conversations.history"
        args: Json = {"channel": self.place.channel, "include_all_metadata": True, "limit": 200}
        args |= {"ts": self.place.thread} if self.place.thread else {}
        args |= {"oldest": self._asked} if self._asked else {}
        marked: dict[int, str] = {}
        unmarked: list[str] = []
        pages, left, limited = 0, _LOOK_WAITS * self.calls.pace.minute, 0
        while pages < _MOST_PAGES:
            wait = min(left, self.calls.pace.book(self.place.team, method))
            left -= wait
            await asyncio.sleep(wait)
            try:
                own = await self.calls.clients.identity(self.place.team)
                told = await self.calls.once(method, args)
            except Limited:
                if left <= 0:
                    # Nothing is known, so it stays in doubt.
                    return
                pause = min(left, 2.0**limited, 16.0)
                limited, left = limited + 1, left - pause
                await asyncio.sleep(pause)
                continue
            except Refused as refused:
                # It will be refused the next time, too.
                _log.warning("Slack: posts of a turn could not be looked for: %s", refused.error)
                break
            except Doubtful as doubt:
                await patience.again(str(doubt))
                continue
            for message in told.get("messages") or ():
                if own.user == message.get("user") or own.bot == message.get("bot_id"):
                    self._sort(message, marked, unmarked)
            pages += 1
            args["cursor"] = (told.get("response_metadata") or {}).get("next_cursor") or ""
            if not args["cursor"]:
                break
        self.doubt = False
        if 0 not in marked and 0 not in self.parts and unmarked:
            marked[0] = max(unmarked, key=number)
            self.streaming = True
        for part, ts in sorted(marked.items()):
            if part not in self.parts:
                await self.keep(part, ts)

    def _sort(self, message: Mapping[str, object], marked: dict[int, str], unmarked: list[str]) -> None:
        """Whether our message is a post of this turn: marked as such, or a stream that nobody ended and marked."""
        ts = str(message.get("ts") or "")
        if message.get("subtype") == "tombstone" or number(ts) <= number(self._asked):
            return
        part = part_of(message, self.turn)
        if part is not None:
            marked[part] = ts
        elif not message.get("metadata") and self._owner(ts) in ("", self.turn):
            unmarked += [ts] if self.streams and self._asked else []

    async def put(self, part: int, content: Json, patience: Patience) -> bool:
        """Show a part, in its old place if it has one. False when somebody deleted it there.

        `content` is `text` and `blocks`, or `markdown_text`. Raises `Refused` and `DeliveryError`.
        """
        content = {**content, "metadata": metadata_of(self.turn, part)}
        while True:
            if part not in self.parts and self.doubt:
                await self.find(patience)
                if self.doubt:
                    raise DeliveryError(
                        "Slack does not tell whether a reply is there already.", "It is tried again later."
                    )
            if part in self.parts:
                try:
                    await self._update(self.parts[part], content, patience)
                except Refused as refused:
                    if refused.error == "message_not_found":
                        self.deleted = True
                        return False
                    if not refused.closed:
                        raise
                    self.disown(part)
                    # Whoever looks would find the same post again.
                    self.doubt = False
                    continue
                return True
            if await self._post(part, content, patience):
                return True

    async def _post(self, part: int, content: Json, patience: Patience) -> bool:
        """Post; False when it is not known whether that was done, and it was looked for."""
        args: Json = {"channel": self.place.channel, "unfurl_links": False, "unfurl_media": False}
        args |= {"thread_ts": self.place.thread} if self.place.thread else {}
        args |= {name: value for name, value in content.items() if value != []}
        try:
            told = await self.calls.surely("chat.postMessage", args, patience, repeat=False, channel=self.place.channel)
        except Doubtful as doubt:
            self.doubt = True
            await patience.again(str(doubt))
            return False
        await self.keep(part, str(told["ts"]))
        return True

    async def _update(self, ts: str, content: Json, patience: Patience) -> None:
        args = {"channel": self.place.channel, "ts": ts, **content}
        if content.get("blocks"):
            args["text"] = args["text"].encode()[:_LONGEST_TEXT].decode(errors="ignore")
        try:
            await self.calls.surely("chat.update", args, patience)
        except Refused as refused:
            if refused.error != "streaming_state_conflict":
                raise
            self.streaming = True
            await self.stop(patience, ts=ts)
            await self.calls.surely("chat.update", args, patience)

    async def stop(self, patience: Patience, *, ts: str = "", eager: bool = False, **more: object) -> bool:
        """End the stream, with what is given to stand below it; False when that is not shown."""
        args: Json = {"channel": self.place.channel, "ts": ts or self.parts.get(0, "")}
        self.streaming = False
        try:
            await self.calls.surely("chat.stopStream", args | more, patience, eager=eager)
        except Refused as refused:
            if refused.error == "message_not_in_streaming_state":
                return refused.after_doubt
            if refused.error == "stopped_by_user":
                self.stopped = True
                return False
            if refused.final and refused.error != "message_not_found":
                raise
            if more and not refused.final:
                await self.stop(patience, ts=ts)
            return False
        return True

    async def remove(self, part: int, patience: Patience) -> None:
        """Take a part away."""
        try:
            args = {"channel": self.place.channel, "ts": self.parts[part]}
            await self.calls.surely("chat.delete", args, patience)
        except Refused as refused:
            if refused.error not in {"message_not_found", "cant_delete_message"}:
                raise
        await self.keep_gone(part)


class LiveDraft(showing.DraftWriter):
    """The draft of a turn. `recipient` is for whom a stream is: their id and their workspace."""

    def __init__(
        self, standing: Standing, refusals: Refusals, recipient: tuple[str, str] | None, stream_seconds: float
    ) -> None:
        super().__init__(standing)
        self._standing = standing
        self._refusals = refusals
        self._recipient = recipient
        self._stream_seconds = stream_seconds
        self._appending = Appending()
        self._taken = ""
        self._edited = ""
        self._pending = ""
        self._changed = False
        self._edits = False
        self._started = self._last = 0.0
        self._tries = 0

    def rest(self, final: str) -> str | None:
        """What to append so that the stream is the final text; `None` when it has to be replaced."""
        if not (self._started and self._standing.streaming) or self._edits or self._changed:
            return None
        rest = self._appending.finish(final)
        if rest is None or len(self._appending.appended) > LONGEST_MARKDOWN:
            return None
        return self._pending + rest

    # The writer.

    async def _write(self) -> None:
        try:
            # What was never told before is shown at once, without asking what stands of it.
            if self._standing.doubt:
                await self._standing.recall()
            if self._standing.doubt and not self._standing.parts:
                await self._standing.find(Patience(_DRAFT_PATIENCE, "look for an earlier draft"))
                self._ended = self._standing.doubt
            if self._standing.parts and not self._started:
                self._edits = True
            while self._newest is not None and not self._final.is_set() and not self._ended:
                if self._edits:
                    await self._edit()
                elif self._started:
                    await self._append()
                else:
                    await self._start()
        except (FrontdeskError, Refused, Limited, Doubtful) as error:
            # Whatever a draft meets, the final reply shows all.
            _log.debug("Slack: a draft was not shown: %s", error)

    def _take(self) -> None:
        """Take the newest draft: what it adds is pending."""
        newest, self._newest = self._newest, None
        if newest is None:
            return
        if newest.startswith(self._taken) and not self._changed:
            self._pending += self._appending.take(newest)
        else:
            self._changed = True
        self._taken = newest

    def _edit_from_now(self) -> None:
        self._edits = True
        if self._newest is None:
            self._newest = self._taken

    async def _start(self) -> None:
        standing, place = self._standing, self._standing.place
        pace = standing.calls.pace
        refused = self._refusals.has("stream", place.team) or self._refusals.has("stream", place.team, place.channel)
        if refused or not place.thread or self._recipient is None or pace.wait(place.team, "chat.startStream") > 0:
            self._edits = True
            return
        self._take()
        if self._changed or len(self._pending) > _LONGEST_STREAM:
            self._edit_from_now()
        elif self._pending.strip():
            await self._open()

    async def _open(self) -> None:
        standing, place = self._standing, self._standing.place
        user, team = self._recipient or ("", "")
        args = {"channel": place.channel, "thread_ts": place.thread, "markdown_text": self._pending}
        standing.calls.pace.book(place.team, "chat.startStream")
        self._last = time.monotonic()
        try:
            told = await standing.calls.once(
                "chat.startStream", {**args, "recipient_user_id": user, "recipient_team_id": team}
            )
        except Refused as refused:
            if refused.final and refused.about != "call":
                self._ended = True
                return
            if refused.about == "workspace":
                self._refusals.remember("stream", place.team)
            elif refused.about == "channel":
                self._refusals.remember("stream", place.team, place.channel)
            self._edit_from_now()
        except Limited:
            self._edit_from_now()
        except Doubtful as doubt:
            await self._after_doubt(doubt)
        else:
            self._pending, self._started, standing.streaming = "", self._last, True
            await standing.keep(0, str(told["ts"]))

    async def _after_doubt(self, doubt: Doubtful) -> None:
        """Nobody knows whether the stream began: look, and begin it only if it did not."""
        standing = self._standing
        standing.doubt = standing.doubt or doubt.sent
        self._tries += 1
        if self._tries > 3:
            self._ended = True
            return
        if await self._pause(2.0 ** (self._tries - 1)):
            return
        if standing.doubt:
            await standing.find(Patience(_DRAFT_PATIENCE, "look for an earlier draft"))
        if standing.doubt:
            # The final reply has the time to find out.
            self._ended = True
            return
        if standing.parts:
            self._pending, self._started = "", self._last
        if self._newest is None:
            self._newest = self._taken

    async def _append(self) -> None:
        standing, team = self._standing, self._standing.place.team
        pace = standing.calls.pace
        if time.monotonic() - self._started > self._stream_seconds:
            await self._leave_stream()
            return
        wait = max(pace.book_append(team), self._last + BETWEEN_APPENDS - time.monotonic())
        wait = max(wait, pace.wait(team, "chat.appendStream"))
        if await self._pause(wait):
            pace.give_back(team, "chat.appendStream")
            return
        self._take()
        if self._changed:
            await self._leave_stream()
            return
        if not self._pending or len(self._appending.appended) > _LONGEST_STREAM:
            pace.give_back(team, "chat.appendStream")
            return
        pace.book(team, "chat.appendStream")
        await self._send()

    async def _send(self) -> None:
        standing = self._standing
        args = {"channel": standing.place.channel, "ts": standing.parts[0], "markdown_text": self._pending}
        self._last = time.monotonic()
        try:
            await standing.calls.once("chat.appendStream", args)
        except Limited:
            self._newest = self._taken if self._newest is None else self._newest
        except Doubtful as doubt:
            if doubt.sent:
                # It may be there or not: only the whole text is certain.
                await self._leave_stream()
            elif self._newest is None:
                self._newest = self._taken
        except Refused as refused:
            if refused.error == "stopped_by_user":
                self._ended, standing.stopped, standing.streaming = True, True, False
            elif refused.error == "message_not_found":
                self._ended = standing.deleted = True
            elif refused.error == "message_not_in_streaming_state":
                standing.streaming = False
                self._edit_from_now()
            else:
                await self._leave_stream()
        else:
            self._pending = ""

    async def _leave_stream(self) -> None:
        """End the stream and go on by editing its post: nothing is shown twice."""
        self._edit_from_now()
        standing = self._standing
        patience = Patience(_DRAFT_PATIENCE, "end a stream")
        try:
            await standing.stop(patience, metadata=metadata_of(standing.turn, 0))
        except DeliveryError:
            standing.streaming = True
            self._ended = True

    async def _edit(self) -> None:
        standing, place = self._standing, self._standing.place
        pace = standing.calls.pace
        if 0 in standing.parts:
            if await self._pause(max(pace.book_edit(place.team, place.channel), pace.wait(place.team, "chat.update"))):
                pace.give_back(place.team, "chat.update")
                return
        else:
            while wait := pace.wait(place.team, "chat.postMessage", place.channel):
                if await self._pause(wait):
                    return
        self._take()
        shown = next(iter(messages(self._taken)), "")
        if shown and shown != self._edited:
            self._edited = shown
            try:
                done = await standing.put(0, {"markdown_text": shown}, Patience(_DRAFT_PATIENCE, "show a draft"))
            except Refused:
                # The next draft would be refused, too, and use up the pace of the final reply.
                done = False
            self._ended = not done
