"""The methods chat.*: posting, changing, deleting and streaming."""

from __future__ import annotations

import copy
import re
import time
from typing import Any

from tests.servers.slack.api import Args, channel_of, method, own_message, writable
from tests.servers.slack.checks import MOST_BLOCKS, MOST_MARKDOWN, wrong_blocks, wrong_metadata
from tests.servers.slack.rooms import Rooms
from tests.servers.slack.state import Channel, Json, Message, Notice, SlackError, Team

MOST_TEXT, MOST_TEXT_OF_UPDATE, MOST_OF_TASK = 40_000, 4_000, 256
LOOKS = "icon_emoji icon_url username"
_CHUNKS = {
    "markdown_text": {"text"},
    "task_update": {"id", "title", "status", "details", "output", "sources"},
    "plan_update": {"title"},
    "blocks": {"blocks"},
}


def refuse_blocks(slack: Rooms, wrong: tuple[str, list[str]] | None) -> None:
    """Refuse with what is wrong with the blocks, and keep it as a violation."""
    if wrong:
        slack.violations.append(f"{wrong[0]}: {wrong[1]}")
        raise SlackError(wrong[0], errors=wrong[1], response_metadata={"messages": [f"[ERROR] {wrong[1][0]}"]})


def refuse_metadata(args: Args) -> None:
    if args.has("metadata"):
        error = wrong_metadata(args.get("metadata"))
        if error:
            raise SlackError(error)


def _content(slack: Rooms, args: Args) -> tuple[str, list[Json] | None]:
    """Text and blocks of a call, where markdown_text becomes text."""
    if args.has("markdown_text"):
        if args.has("text") or args.has("blocks"):
            raise SlackError("markdown_text_conflict")
        if len(args.text("markdown_text")) > MOST_MARKDOWN:
            raise SlackError("msg_too_long")
        return args.text("markdown_text"), None
    blocks = args.get("blocks")
    if blocks:
        refuse_blocks(slack, wrong_blocks(blocks))
        blocks = copy.deepcopy(blocks)
        for number, block in enumerate(blocks):
            block.setdefault("block_id", f"b{number:03d}")
    if not args.text("text").strip() and not blocks and not args.get("attachments"):
        raise SlackError("no_text")
    if len(args.text("text")) > MOST_TEXT:
        slack.violations.append(f"text of {len(args.text('text'))} characters is cut off")
    return args.text("text")[:MOST_TEXT], blocks


def _root(slack: Rooms, channel: Channel, args: Args) -> str:
    """The thread that a call names: its root, and no reply, must stand."""
    named = args.text("thread_ts")
    if not named:
        return ""
    parent = next((message for message in channel.messages if message.ts == named), None)
    gone = parent is None or (parent.deleted and not channel.thread(named))
    if parent is None or gone:
        if slack.lost_threads:
            raise SlackError(slack.lost_threads)
        return ""
    if parent.subtype.endswith(("_join", "_leave", "_topic", "_purpose", "_name", "_archive")):
        raise SlackError("cannot_reply_to_message")
    if parent.thread_ts:
        slack.violations.append(f"thread_ts {named} is a reply, not the root of a thread")
    return parent.thread_ts or parent.ts


def check_looks(args: Args, team: Team) -> None:
    if any(args.has(name) for name in LOOKS.split()) and "chat:write.customize" not in team.scopes:
        provided = ",".join(team.scopes)
        raise SlackError("missing_scope", needed="chat:write.customize", provided=provided)


def _message(slack: Rooms, team: Team, text: str, thread_ts: str) -> Message:
    return Message(slack.now_ts(), team.bot_user, text, team.id, thread_ts, bot_id=team.bot_id)


@method(
    "chat.postMessage",
    "channel",
    "text blocks attachments markdown_text thread_ts reply_broadcast metadata unfurl_links unfurl_media mrkdwn parse "
    "link_names " + LOOKS,
    scopes="chat:write",
)
def post_message(slack: Rooms, team: Team, args: Args) -> Json:
    person = slack.users.get(args.text("channel"))
    if person is not None and not person.bot:
        # A user's id stands for the direct messages with them.
        args = Args(args.values | {"channel": slack.dm_channel(person.id, team.id).id})
    channel = writable(slack, team, args)
    check_looks(args, team)
    text, blocks = _content(slack, args)
    refuse_metadata(args)
    message = _message(slack, team, text, _root(slack, channel, args))
    message.blocks, message.attachments = blocks, args.get("attachments") or []
    message.metadata = args.get("metadata") or None
    slack.post(channel, message)
    if args.flag("link_names") or args.text("parse") == "full":
        found = re.findall(r"@(?:channel|here|everyone)\b", text)
        slack.notified += [Notice(channel.id, message.ts, f"<!{mention[1:]}>") for mention in found]
    return {"channel": channel.id, "ts": message.ts, "message": slack.message_json(channel, message)}


@method(
    "chat.postEphemeral",
    "channel user",
    "text blocks attachments markdown_text thread_ts parse link_names " + LOOKS,
    scopes="chat:write",
    tier=4,
)
def post_ephemeral(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args)
    check_looks(args, team)
    if args.text("user") not in channel.members:
        raise SlackError("user_not_in_channel")
    text, blocks = _content(slack, args)
    message = _message(slack, team, text, _root(slack, channel, args))
    message.blocks, message.attachments = blocks, args.get("attachments") or []
    slack.whisper(channel, message, args.text("user"))
    return {"message_ts": message.ts}


@method(
    "chat.update",
    "channel ts",
    "text blocks attachments markdown_text metadata parse link_names as_user reply_broadcast file_ids "
    "unfurl_links unfurl_media",
    scopes="chat:write",
)
def update(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    message = own_message(slack, team, channel, args, "cant_update_message")
    slack.expire(message)
    if message.streaming == "streaming":
        raise SlackError("streaming_state_conflict")
    if channel.archived:
        raise SlackError("is_archived")
    text, blocks = _content(slack, args)
    if len(args.text("text").encode()) > MOST_TEXT_OF_UPDATE:
        raise SlackError("msg_too_long")
    refuse_metadata(args)
    previous = slack.message_json(channel, message)
    message.text = text
    # Blocks that are not sent are kept; an empty list takes them away.
    if args.get("blocks") is not None:
        message.blocks = blocks or None
    if args.has("markdown_text"):
        message.blocks = None
    if args.get("attachments") is not None:
        message.attachments = args.get("attachments")
    if args.has("metadata"):
        message.metadata = args.get("metadata")
    message.tasks, message.plan = {}, ""
    if blocks:
        message.streaming = ""
    message.edited = {"user": team.bot_user, "ts": slack.now_ts()}
    slack.changed(channel, message, previous)
    shown = slack.message_json(channel, message)
    return {"channel": channel.id, "ts": message.ts, "text": text, "message": shown}


@method("chat.delete", "channel ts", "as_user", scopes="chat:write")
def delete(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    message = own_message(slack, team, channel, args, "cant_delete_message")
    slack.remove(channel, message)
    return {"channel": channel.id, "ts": message.ts}


@method("chat.getPermalink", "channel message_ts", tier=3)
def get_permalink(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    ts = args.text("message_ts")
    message = channel.find(ts)
    if message is None:
        raise SlackError("message_not_found")
    link = f"https://{team.domain}.slack.com/archives/{channel.id}/p{ts.replace('.', '')}"
    if message.thread_ts:
        link += f"?thread_ts={message.thread_ts}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}


# Streams.


def _chunks(slack: Rooms, args: Args) -> list[Json]:
    """What a call adds to the stream, checked."""
    chunks = args.get("chunks")
    if chunks is not None and not isinstance(chunks, list):
        raise SlackError("invalid_chunks")
    chunks = list(chunks or [])
    if args.has("markdown_text"):
        if chunks:
            raise SlackError("invalid_arguments")
        chunks = [{"type": "markdown_text", "text": args.text("markdown_text")}]
    blocks = 0
    for chunk in chunks:
        _check_chunk(slack, chunk)
        blocks += len(chunk.get("blocks", ()))
    if blocks > MOST_BLOCKS:
        raise SlackError("invalid_chunks")
    return chunks


def _check_chunk(slack: Rooms, chunk: Any) -> None:
    kind = chunk.get("type") if isinstance(chunk, dict) else None
    if kind not in _CHUNKS or chunk.keys() - _CHUNKS[kind] - {"type"}:
        slack.violations.append(f"invalid_chunks: {chunk!r}"[:300])
        raise SlackError("invalid_chunks")
    if kind == "markdown_text":
        if not isinstance(chunk.get("text"), str):
            raise SlackError("invalid_chunks")
        if len(chunk["text"]) > MOST_MARKDOWN:
            raise SlackError("msg_too_long")
    elif kind == "blocks":
        refuse_blocks(slack, wrong_blocks(chunk.get("blocks")))
    elif kind == "plan_update":
        _short(slack, chunk, "title")
    else:
        if not chunk.get("id") or chunk.get("status") not in {"pending", "in_progress", "complete", "error"}:
            raise SlackError("invalid_chunks")
        _short(slack, chunk, "title")
        for name in ("details", "output"):
            if name in chunk:
                _short(slack, chunk, name)


def _short(slack: Rooms, chunk: Json, name: str) -> None:
    value = chunk.get(name)
    if not isinstance(value, str) or not value or len(value) > MOST_OF_TASK:
        slack.violations.append(f"invalid_chunks: {name} of {chunk['type']}")
        raise SlackError("invalid_chunks")


def _add(message: Message, args: Args, chunks: list[Json]) -> None:
    """Put the chunks into the message; a stream takes only what it was opened with."""
    if chunks:
        takes = "markdown_text" if args.has("markdown_text") else "chunks"
        message.stream_takes = message.stream_takes or takes
        if message.stream_takes != takes:
            raise SlackError("streaming_mode_mismatch")
    for chunk in chunks:
        if chunk["type"] == "markdown_text":
            message.text += chunk["text"]
        elif chunk["type"] == "plan_update":
            message.plan = chunk["title"]
        elif chunk["type"] == "blocks":
            message.blocks = [*(message.blocks or []), *copy.deepcopy(chunk["blocks"])]
        else:
            task = message.tasks.setdefault(chunk["id"], {})
            details = str(task.get("details", "")) + str(chunk.get("details", ""))
            task.update(chunk)
            if details:
                task["details"] = details


def _refused_streams(slack: Rooms, team: Team, channel: Channel) -> None:
    error = slack.no_streams.get(channel.id) or slack.no_streams.get(team.id) or slack.no_streams.get("*")
    if error:
        raise SlackError(error)


@method(
    "chat.startStream",
    "channel",
    "thread_ts markdown_text chunks recipient_user_id recipient_team_id task_display_mode " + LOOKS,
    scopes="chat:write",
    tier=2,
)
def start_stream(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args)
    _refused_streams(slack, team, channel)
    check_looks(args, team)
    if not args.has("thread_ts"):
        raise SlackError(
            "invalid_arguments", response_metadata={"messages": ["[ERROR] missing required field: thread_ts"]}
        )
    if channel.kind != "im" or args.has("recipient_user_id") != args.has("recipient_team_id"):
        _recipient(slack, args)
    if args.text("task_display_mode", "timeline") not in {"timeline", "plan", "dense"}:
        raise SlackError("invalid_arguments")
    chunks = _chunks(slack, args)
    message = _message(slack, team, "", _root(slack, channel, args))
    message.streaming, message.stream_ends = "streaming", time.monotonic() + slack.stream_seconds
    _add(message, args, chunks)
    slack.post(channel, message)
    return {"channel": channel.id, "ts": message.ts}


def _recipient(slack: Rooms, args: Args) -> None:
    if not args.has("recipient_team_id"):
        raise SlackError("missing_recipient_team_id")
    if not args.has("recipient_user_id"):
        raise SlackError("missing_recipient_user_id")
    user = slack.users.get(args.text("recipient_user_id"))
    if user is None:
        raise SlackError("user_not_found")
    if user.team != args.text("recipient_team_id"):
        slack.violations.append(f"chat.startStream: {user.id} is of {user.team}, not {args.text('recipient_team_id')}")
        raise SlackError("team_not_found")


def _streaming(slack: Rooms, team: Team, channel: Channel, args: Args) -> Message:
    message = own_message(slack, team, channel, args, "message_not_owned_by_app")
    slack.expire(message)
    if message.streaming == "stopped_by_user":
        raise SlackError("stopped_by_user")
    if message.streaming != "streaming":
        raise SlackError("message_not_in_streaming_state")
    return message


@method("chat.appendStream", "channel ts", "markdown_text chunks", scopes="chat:write", tier=4)
def append_stream(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args)
    message = _streaming(slack, team, channel, args)
    chunks = _chunks(slack, args)
    if not chunks:
        raise SlackError("no_text")
    _add(message, args, chunks)
    slack.noticed(channel, message)
    return {"channel": channel.id, "ts": message.ts}


@method(
    "chat.stopStream", "channel ts", "markdown_text chunks blocks metadata session_status", scopes="chat:write", tier=2
)
def stop_stream(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args)
    message = _streaming(slack, team, channel, args)
    chunks = _chunks(slack, args)
    refuse_metadata(args)
    blocks = args.get("blocks")
    if blocks:
        refuse_blocks(slack, wrong_blocks(blocks))
    status = args.text("session_status")
    if status and status not in {"processing", "active", "suspended", "closed"}:
        raise SlackError("invalid_arguments")
    previous = slack.message_json(channel, message)
    _add(message, args, chunks)
    if blocks:
        message.blocks = [*(message.blocks or []), *copy.deepcopy(blocks)]
        for number, block in enumerate(message.blocks):
            block.setdefault("block_id", f"b{number:03d}")
    message.metadata = args.get("metadata") or message.metadata
    message.streaming = "stopped"
    if status:
        slack.sessions.setdefault((channel.id, message.thread_ts), {"title": ""})["status"] = status
    slack.changed(channel, message, previous)
    slack.clear_status(channel.id, message.thread_ts)
    return {"channel": channel.id, "ts": message.ts, "message": slack.message_json(channel, message)}
