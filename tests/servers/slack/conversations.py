"""The methods about the app itself, people, channels, reactions and their histories."""

from __future__ import annotations

from tests.servers.slack.api import Args, channel_of, history_scope, method
from tests.servers.slack.rooms import Rooms
from tests.servers.slack.state import Channel, Json, Message, SlackError, Team, User

_READ = "channels:read groups:read im:read mpim:read"
_HISTORY = "channels:history groups:history im:history mpim:history"
_MOST_LIMITED = 15


@method("api.test", "", "error foo", token="none")
def api_test(slack: Rooms, team: Team, args: Args) -> Json:
    if args.has("error"):
        raise SlackError(args.text("error"))
    return {"args": args.values}


@method("auth.test", tier=4)
def auth_test(slack: Rooms, team: Team, args: Args) -> Json:
    return {
        "url": f"https://{team.domain}.slack.com/",
        "team": team.name,
        "user": slack.users[team.bot_user].name,
        "team_id": team.organisation or team.id,
        "user_id": team.bot_user,
        "bot_id": team.bot_id,
        "is_enterprise_install": bool(team.organisation),
        **({"enterprise_id": team.organisation} if team.organisation else {}),
    }


@method("auth.revoke", "", "test")
def auth_revoke(slack: Rooms, team: Team, args: Args) -> Json:
    if not args.flag("test"):
        team.refused = "token_revoked"
    return {"revoked": not args.flag("test")}


@method("bots.info", "", "bot team_id", scopes="users:read")
def bots_info(slack: Rooms, team: Team, args: Args) -> Json:
    bot = args.text("bot", team.bot_id)
    user = next((user for user in slack.users.values() if user.bot_id == bot), None)
    if user is None:
        raise SlackError("bot_not_found")
    ours = user.id == team.bot_user
    found = {"id": bot, "deleted": False, "name": user.name, "updated": 1, "user_id": user.id, "icons": {}}
    return {"bot": found | {"app_id": slack.app_id if ours else "A00OTHER001"}}


@method("apps.connections.open", token="app", tier=1)
def connections_open(slack: Rooms, team: Team, args: Args) -> Json:
    return {"url": slack.new_ticket()}


@method("team.info", "", "team domain", scopes="team:read")
def team_info(slack: Rooms, team: Team, args: Args) -> Json:
    asked = slack.teams.get(args.text("team", team.id))
    if asked is None or asked is not team:
        raise SlackError("team_not_found")
    url = f"https://{team.domain}.slack.com/"
    return {
        "team": {"id": team.id, "name": team.name, "domain": team.domain, "url": url, "icon": {}, "email_domain": ""}
    }


def known_user(slack: Rooms, team: Team, name: str) -> User:
    """A user of the workspace, or a stranger who shares a channel with it."""
    user = slack.users.get(name)
    if user is None:
        raise SlackError("user_not_found")
    if user.team != team.id and not user.workspaces:
        shared = [channel for channel in slack.channels.values() if channel.shared and user.id in channel.members]
        shared += [item for item in slack.channels.values() if item.kind == "im" and user.id in item.members]
        if not shared:
            raise SlackError("user_not_visible")
    return user


@method("users.info", "user", "include_locale", scopes="users:read", tier=4)
def users_info(slack: Rooms, team: Team, args: Args) -> Json:
    found = slack.user_json(known_user(slack, team, args.text("user")), team)
    if not args.flag("include_locale"):
        found.pop("locale", None)
    return {"user": found}


def _readable(slack: Rooms, team: Team, channel: Channel) -> None:
    needed = {"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}[channel.kind] + ":read"
    if needed not in team.scopes:
        raise SlackError("missing_scope", needed=needed, provided=",".join(team.scopes))


@method("conversations.info", "channel", "include_locale include_num_members", scopes=_READ)
def info(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    _readable(slack, team, channel)
    found = slack.channel_json(channel, team)
    if args.flag("include_num_members"):
        found["num_members"] = len(channel.members)
    return {"channel": found}


@method("conversations.members", "channel", "cursor limit", scopes=_READ, tier=4)
def members(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    _readable(slack, team, channel)
    start, limit = _offset(args), args.number("limit", 100)
    page = channel.members[start : start + limit]
    return {"members": page, **_next(start + limit, len(channel.members))}


@method("conversations.list", "", "cursor limit types exclude_archived team_id", scopes=_READ, tier=2)
def list_conversations(slack: Rooms, team: Team, args: Args) -> Json:
    kinds = {"public_channel": "channel", "private_channel": "group", "im": "im", "mpim": "mpim"}
    wanted = {kinds.get(name.strip()) for name in args.text("types", "public_channel").split(",")}
    found = [item for item in slack.channels.values() if item.kind in wanted and item.team == team.id]
    found = [item for item in found if item.kind == "channel" or team.bot_user in item.members]
    if args.flag("exclude_archived"):
        found = [item for item in found if not item.archived]
    start, limit = _offset(args), args.number("limit", 100)
    page = [slack.channel_json(item, team) for item in found[start : start + limit]]
    return {"channels": page, **_next(start + limit, len(found))}


@method("conversations.join", "channel", scopes="channels:join")
def join(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    if channel.kind != "channel":
        raise SlackError("method_not_supported_for_channel_type")
    if channel.archived:
        raise SlackError("is_archived")
    slack.join_channel(channel, team.bot_user)
    return {"channel": slack.channel_json(channel, team)}


@method("conversations.open", "", "channel users return_im prevent_creation", scopes="im:write mpim:write")
def open_conversation(slack: Rooms, team: Team, args: Args) -> Json:
    if args.has("channel"):
        channel = channel_of(slack, team, args)
        return {"channel": {"id": channel.id}, "no_op": True, "already_open": True}
    users = args.get("users")
    names = users if isinstance(users, list) else [name for name in args.text("users").split(",") if name]
    if not names:
        raise SlackError("users_list_not_supplied")
    if len(names) > 1:
        raise SlackError("method_not_supported_for_channel_type")
    user = known_user(slack, team, names[0])
    if user.bot:
        raise SlackError("cannot_dm_bot")
    channel = slack.dm_channel(user.id, team.id)
    return {"channel": slack.channel_json(channel, team) if args.flag("return_im") else {"id": channel.id}}


def _offset(args: Args) -> int:
    cursor = args.text("cursor")
    if cursor and not cursor.startswith("next:"):
        raise SlackError("invalid_cursor")
    return int(cursor.removeprefix("next:") or 0)


def _next(end: int, total: int) -> Json:
    more = end < total
    return {"response_metadata": {"next_cursor": f"next:{end}" if more else ""}}


def _between(args: Args, message: Message) -> bool:
    latest, oldest = args.text("latest"), args.text("oldest", "0")
    at = float(message.ts)
    if args.flag("inclusive"):
        return float(oldest) <= at and (not latest or at <= float(latest))
    return float(oldest) < at and (not latest or at < float(latest))


def _limit(slack: Rooms, args: Args) -> int:
    limit = args.number("limit", 100)
    if limit < 1 or limit > 999:
        raise SlackError("invalid_limit")
    return min(limit, _MOST_LIMITED) if slack.limited_history else limit


@method(
    "conversations.history", "channel", "cursor limit latest oldest inclusive include_all_metadata", scopes=_HISTORY
)
def history(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    history_scope(slack, team, channel)
    found = [message for message in channel.messages if not message.thread_ts and not message.deleted]
    found = [message for message in reversed(found) if _between(args, message)]
    start, limit = _offset(args), _limit(slack, args)
    whole = args.flag("include_all_metadata")
    page = [slack.message_json(channel, message, metadata=whole) for message in found[start : start + limit]]
    more = start + limit < len(found)
    return {"messages": page, "has_more": more, "pin_count": 0, **_next(start + limit, len(found))}


@method(
    "conversations.replies", "channel ts", "cursor limit latest oldest inclusive include_all_metadata", scopes=_HISTORY
)
def replies(slack: Rooms, team: Team, args: Args) -> Json:
    channel = channel_of(slack, team, args)
    history_scope(slack, team, channel)
    thread = channel.thread(args.text("ts"))
    if not thread:
        reply = channel.find(args.text("ts"))
        if reply is None:
            raise SlackError("thread_not_found")
        thread = [reply]
    # The root is always the first of a page.
    root, rest = thread[0], [message for message in thread[1:] if _between(args, message)]
    start, limit = _offset(args), _limit(slack, args)
    shown = [root, *rest[start : start + limit - 1]] if limit > 1 else [root]
    whole = args.flag("include_all_metadata")
    page = [slack.message_json(channel, message, metadata=whole) for message in shown]
    end = start + max(limit - 1, 1)
    return {"messages": page, "has_more": end < len(rest), **_next(end, len(rest))}


def _reacted(slack: Rooms, team: Team, args: Args) -> tuple[Channel, Message, str]:
    channel = channel_of(slack, team, args)
    if team.bot_user not in channel.members:
        raise SlackError("not_in_channel")
    message = channel.find(args.text("timestamp"))
    if message is None:
        raise SlackError("message_not_found")
    name = args.text("name")
    if not name or ":" in name.split("::")[0]:
        raise SlackError("invalid_name")
    return channel, message, name


@method("reactions.add", "channel timestamp name", scopes="reactions:write")
def reactions_add(slack: Rooms, team: Team, args: Args) -> Json:
    channel, message, name = _reacted(slack, team, args)
    if team.bot_user in message.reactions.get(name, ()):
        raise SlackError("already_reacted")
    slack.reacted(channel, message, team.bot_user, name)
    return {}


@method("reactions.remove", "channel timestamp name", scopes="reactions:write", tier=2)
def reactions_remove(slack: Rooms, team: Team, args: Args) -> Json:
    _, message, name = _reacted(slack, team, args)
    if team.bot_user not in message.reactions.get(name, ()):
        raise SlackError("no_reaction")
    message.reactions[name].remove(team.bot_user)
    if not message.reactions[name]:
        del message.reactions[name]
    return {}
