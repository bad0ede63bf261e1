"""The methods of the agent's surface: statuses, prompts, sessions, views; and files and OAuth."""

from __future__ import annotations

import copy
import time

from tests.servers.slack.api import Args, method, writable
from tests.servers.slack.chat import LOOKS, check_looks
from tests.servers.slack.checks import wrong_view
from tests.servers.slack.rooms import Rooms
from tests.servers.slack.state import Channel, Json, Message, SlackError, Team, View

_MOST_STATUS_MESSAGES, _MOST_PROMPTS, _MOST_VIEWS = 10, 4, 3


def _thread(channel: Channel, args: Args) -> str:
    ts = args.text("thread_ts")
    if not any(message.ts == ts for message in channel.messages):
        raise SlackError("invalid_thread_ts")
    return ts


@method(
    "assistant.threads.setStatus",
    "channel_id thread_ts status",
    "loading_messages " + LOOKS,
    scopes="assistant:write chat:write",
    tier=4,
)
def set_status(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args, "channel_id")
    check_looks(args, team)
    messages = args.get("loading_messages") or []
    if not isinstance(messages, list) or len(messages) > _MOST_STATUS_MESSAGES:
        raise SlackError("invalid_arguments")
    slack.set_status(channel.id, _thread(channel, args), args.text("status"), messages)
    return {}


@method("assistant.threads.setTitle", "channel_id thread_ts title", scopes="assistant:write")
def set_title(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args, "channel_id")
    if channel.kind != "im":
        raise SlackError("channel_type_not_supported")
    key = (channel.id, _thread(channel, args))
    if not slack.agent_view:
        slack.titles[key] = args.text("title")
    return {}


@method("assistant.threads.setSuggestedPrompts", "channel_id prompts", "thread_ts title", scopes="assistant:write")
def set_suggested_prompts(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args, "channel_id")
    prompts = args.get("prompts")
    if not isinstance(prompts, list) or not 1 <= len(prompts) <= _MOST_PROMPTS:
        raise SlackError("invalid_arguments")
    for prompt in prompts:
        right = isinstance(prompt, dict) and prompt.keys() == {"title", "message"}
        if not right or not prompt["title"] or not prompt["message"]:
            raise SlackError("invalid_arguments")
    if slack.agent_view and args.has("thread_ts"):
        # It answers that all is well, and shows nothing.
        return {}
    if not slack.agent_view and not args.has("thread_ts"):
        raise SlackError("invalid_arguments")
    slack.suggested_prompts[channel.id] = {"title": args.text("title"), "prompts": prompts}
    return {}


@method(
    "agents.sessions.setStatus",
    "channel_id status",
    "thread_ts title initiator_user_id " + LOOKS,
    scopes="chat:write",
)
def set_session_status(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args, "channel_id")
    if not slack.agent_view:
        raise SlackError("not_an_agent")
    status = args.text("status")
    if status not in {"processing", "active", "suspended", "closed"} or not args.has("thread_ts"):
        raise SlackError("invalid_arguments")
    if len(args.text("title")) > 200:
        raise SlackError("invalid_arguments")
    key = (channel.id, _thread(channel, args))
    session = slack.sessions.setdefault(key, {"title": args.text("title"), "log": []})
    session.setdefault("log", []).append((status, time.monotonic()))
    session["status"] = status
    answer = {"status": status, "agent_status": status, "title": session["title"]}
    if status == "processing" and "agent_session_stopped" not in slack.events:
        warning = "missing_agent_session_stopped_event_subscription"
        return answer | {"warning": warning, "response_metadata": {"warnings": [warning]}}
    return answer


@method("agents.sessions.rename", "channel_id title", "thread_ts", scopes="chat:write")
def rename_session(slack: Rooms, team: Team, args: Args) -> Json:
    channel = writable(slack, team, args, "channel_id")
    if not 1 <= len(args.text("title")) <= 200:
        raise SlackError("invalid_arguments")
    session = slack.sessions.get((channel.id, args.text("thread_ts")))
    if session is None:
        raise SlackError("session_not_found")
    session["title"] = args.text("title")
    return {"title": session["title"]}


# Views.


def _checked_view(slack: Rooms, args: Args, kind: str) -> Json:
    problems = wrong_view(args.get("view"), (kind,))
    if problems:
        slack.violations.append(f"view: {problems}")
        raise SlackError("invalid_arguments", response_metadata={"messages": [f"[ERROR] {item}" for item in problems]})
    view: Json = copy.deepcopy(args.get("view"))
    for number, block in enumerate(view["blocks"]):
        block.setdefault("block_id", f"b{number:03d}")
    return view


def _trigger(slack: Rooms, args: Args) -> tuple[str, str]:
    """User and workspace of a trigger_id, which serves once and for three seconds."""
    kept = slack.triggers.pop(args.text("trigger_id"), None)
    if kept is None:
        raise SlackError("invalid_trigger_id" if args.has("trigger_id") else "invalid_arguments")
    if time.monotonic() > kept[2]:
        raise SlackError("expired_trigger_id")
    return kept[0], kept[1]


def _open(slack: Rooms, user: str, team: Team, body: Json, previous: str = "") -> View:
    id_ = slack.new_id("V")
    root = slack.view_table[previous].root if previous else id_
    hash_ = f"{slack.now_ts().split('.')[0]}.{slack.new_id('h')}"
    view = View(id_, user, team.id, body, hash_, root, previous, time.monotonic())
    slack.view_table[id_] = view
    return view


@method("views.open", "view", "trigger_id interactivity_pointer", tier=4)
def views_open(slack: Rooms, team: Team, args: Args) -> Json:
    body = _checked_view(slack, args, "modal")
    user, _ = _trigger(slack, args)
    return {"view": slack.view_json(_open(slack, user, team, body))}


@method("views.push", "view", "trigger_id interactivity_pointer", tier=4)
def views_push(slack: Rooms, team: Team, args: Args) -> Json:
    body = _checked_view(slack, args, "modal")
    user, _ = _trigger(slack, args)
    stack = [
        view for view in slack.view_table.values() if view.user == user and view.open and view.body["type"] == "modal"
    ]
    if not stack:
        raise SlackError("no_previous_view")
    if len(stack) >= _MOST_VIEWS:
        raise SlackError("push_limit_reached")
    return {"view": slack.view_json(_open(slack, user, team, body, stack[-1].id))}


@method("views.update", "view", "view_id external_id hash", tier=4)
def views_update(slack: Rooms, team: Team, args: Args) -> Json:
    body = _checked_view(slack, args, "modal")
    named = slack.view_table.get(args.text("view_id"))
    if args.has("external_id"):
        views = slack.view_table.values()
        named = next((item for item in views if item.body.get("external_id") == args.text("external_id")), None)
    if named is None or not named.open:
        raise SlackError("not_found")
    if args.has("hash") and args.text("hash") != named.hash:
        raise SlackError("hash_conflict")
    named.body, named.hash = body, f"{named.hash}-"
    return {"view": slack.view_json(named)}


@method("views.publish", "user_id view", "hash", tier=4)
def views_publish(slack: Rooms, team: Team, args: Args) -> Json:
    body = _checked_view(slack, args, "home")
    user = args.text("user_id")
    if user not in slack.users:
        raise SlackError("user_not_found")
    homes = slack.view_table.values()
    home = next(
        (item for item in homes if item.user == user and item.team == team.id and item.body["type"] == "home"), None
    )
    if home is None:
        home = _open(slack, user, team, body)
    elif args.has("hash") and args.text("hash") != home.hash:
        raise SlackError("hash_conflict")
    home.body, home.hash = body, f"{home.hash}-"
    return {"view": slack.view_json(home)}


# Files.


@method("files.info", "file", "count page limit cursor", scopes="files:read", tier=4)
def files_info(slack: Rooms, team: Team, args: Args) -> Json:
    file = slack.files.get(args.text("file"))
    if file is None or file.get("_state") != "shared":
        raise SlackError("file_not_found")
    return {"file": slack.file_json(file), "comments": [], "response_metadata": {"next_cursor": ""}}


@method("files.getUploadURLExternal", "filename length", "alt_txt snippet_type", scopes="files:write", tier=4)
def get_upload_url(slack: Rooms, team: Team, args: Args) -> Json:
    if args.number("length", 0) < 1:
        raise SlackError("invalid_arguments")
    file = slack.new_file(team.bot_user, args.text("filename"), team.id, "application/octet-stream")
    file |= {"_state": "waiting", "_length": args.number("length", 0)}
    return {"upload_url": f"{slack.url}/upload/v1/{file['id']}", "file_id": file["id"]}


@method(
    "files.completeUploadExternal",
    "files",
    "channel_id channels initial_comment thread_ts blocks",
    scopes="files:write",
    tier=4,
)
def complete_upload(slack: Rooms, team: Team, args: Args) -> Json:
    asked = args.get("files")
    if not isinstance(asked, list) or not asked:
        raise SlackError("invalid_arguments")
    files = []
    for item in asked:
        file = slack.files.get(item.get("id", "")) if isinstance(item, dict) else None
        if file is None or file["_state"] != "uploaded":
            raise SlackError("file_not_found")
        file |= {"title": item.get("title") or file["name"], "_state": "shared"}
        files.append(slack.file_json(file))
    rooms = [name for name in (args.text("channel_id"), *args.text("channels").split(",")) if name]
    for room in rooms:
        channel = writable(slack, team, Args({"channel": room}))
        message = Message(slack.now_ts(), team.bot_user, args.text("initial_comment"), team.id, bot_id=team.bot_id)
        message.thread_ts, message.files, message.subtype = args.text("thread_ts"), files, "file_share"
        slack.post(channel, message)
    return {"files": files}


# OAuth.


@method(
    "oauth.v2.access", "", "code client_id client_secret redirect_uri grant_type refresh_token", token="none", tier=4
)
def oauth_access(slack: Rooms, team: Team, args: Args) -> Json:
    if args.text("client_id") != slack.client_id:
        raise SlackError("invalid_client_id")
    if args.text("client_secret") != slack.client_secret:
        raise SlackError("bad_client_secret")
    if args.text("grant_type") == "refresh_token":
        given = args.text("refresh_token")
        installed = next((one for one in slack.teams.values() if given and one.refresh_token == given), None)
        if installed is None:
            raise SlackError("invalid_refresh_token")
    else:
        installed = slack.teams.get(slack.codes.pop(args.text("code"), ""))
        if installed is None:
            raise SlackError("invalid_code")
    installed.installed, installed.refused = True, ""
    rotated: Json = {}
    if installed.lasts:
        installed.bot_token, installed.refresh_token = f"xoxe.xoxb-{slack.new_id('t')}", f"xoxe-{slack.new_id('r')}"
        installed.ends = time.time() + installed.lasts
        rotated = {"refresh_token": installed.refresh_token, "expires_in": int(installed.lasts)}
    installer = next(
        (user.id for user in slack.users.values() if user.team == installed.id and not user.bot), "U0INSTALL01"
    )
    return {
        "access_token": installed.bot_token,
        "token_type": "bot",
        "scope": ",".join(installed.scopes),
        "bot_user_id": installed.bot_user,
        "app_id": slack.app_id,
        "team": {"name": installed.name, "id": installed.id},
        "enterprise": None,
        "is_enterprise_install": False,
        "authed_user": {"id": installer},
        **rotated,
    }
