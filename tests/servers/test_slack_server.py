"""The local Slack, as the real slack_sdk and slack_bolt meet it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from tests.servers.running import serving
from tests.servers.slack import SlackServer

Json = dict[str, Any]
SECTION: Json = {"type": "section", "text": {"type": "mrkdwn", "text": "*Hello*"}}


def button(action_id: str, value: str = "v") -> Json:
    return {"type": "button", "action_id": action_id, "value": value, "text": {"type": "plain_text", "text": "Press"}}


FEEDBACK: Json = {
    "type": "context_actions",
    "elements": [
        {
            "type": "feedback_buttons",
            "action_id": "feedback",
            "positive_button": {"text": {"type": "plain_text", "text": "Good"}, "value": "good"},
            "negative_button": {"text": {"type": "plain_text", "text": "Bad"}, "value": "bad"},
        }
    ],
}
FORM: Json = {
    "type": "modal",
    "callback_id": "ticket",
    "title": {"type": "plain_text", "text": "Ticket"},
    "submit": {"type": "plain_text", "text": "Send"},
    "blocks": [
        {
            "type": "input",
            "block_id": "subject",
            "label": {"type": "plain_text", "text": "Subject"},
            "element": {"type": "plain_text_input", "action_id": "text"},
        }
    ],
}


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server


@pytest.fixture
def client(slack: SlackServer) -> AsyncWebClient:
    return AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)


@pytest.fixture
def ann(slack: SlackServer) -> str:
    return slack.add_user("ann")


@pytest.fixture
def room(slack: SlackServer, ann: str) -> str:
    return slack.add_channel("help", [ann])


def bolt(slack: SlackServer) -> AsyncApp:
    return AsyncApp(
        client=AsyncWebClient(token=slack.bot_token, base_url=slack.api_url), signing_secret=slack.signing_secret
    )


@asynccontextmanager
async def connected(
    slack: SlackServer, app: AsyncApp, ping_interval: float = 10
) -> AsyncIterator[AsyncSocketModeHandler]:
    web_client = AsyncWebClient(token=slack.app_token, base_url=slack.api_url)
    handler = AsyncSocketModeHandler(app, slack.app_token, web_client=web_client, ping_interval=ping_interval)
    before = len(slack.connections)
    await handler.connect_async()  # type: ignore[no-untyped-call]
    await until(lambda: len(slack.connections) > before)
    try:
        yield handler
    finally:
        await handler.close_async()  # type: ignore[no-untyped-call]


async def until(predicate: Callable[[], Any], seconds: float = 5) -> Any:
    ends = time.monotonic() + seconds
    while not (found := predicate()):
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
    return found


async def error_of(call: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return str(caught.value.response["error"])


async def test_the_app_learns_who_it_is_and_whom_it_talks_to(
    slack: SlackServer, client: AsyncWebClient, ann: str
) -> None:
    me = await client.auth_test()
    assert (me["team_id"], me["user_id"], me["bot_id"]) == (slack.team.id, slack.bot_user, slack.team.bot_id)
    assert "chat:write" in me.headers["X-OAuth-Scopes"]
    assert (await client.bots_info(bot=me["bot_id"]))["bot"]["user_id"] == slack.bot_user
    guest = slack.add_user("gus", guest=True)
    stranger = slack.add_user("eve", team=slack.add_foreign_team())
    shared = slack.add_channel("partners", [ann, stranger], shared=True)
    assert (await client.users_info(user=guest))["user"]["is_restricted"]
    seen = (await client.users_info(user=stranger))["user"]
    assert seen["is_stranger"]
    assert seen["team_id"] != slack.team.id
    assert "is_admin" not in seen
    assert (await client.conversations_info(channel=shared))["channel"]["is_ext_shared"]
    direct = (await client.conversations_open(users=ann))["channel"]["id"]
    assert (await client.conversations_info(channel=direct))["channel"]["is_im"]
    assert (await client.conversations_members(channel=shared))["members"] == [ann, stranger, slack.bot_user]
    assert slack.violations == []


async def test_tokens_and_scopes_are_checked(slack: SlackServer, client: AsyncWebClient, room: str) -> None:
    nobody = AsyncWebClient(base_url=slack.api_url)
    assert await error_of(nobody.auth_test()) == "not_authed"
    assert await error_of(client.auth_test(token="xoxb-other")) == "invalid_auth"
    assert await error_of(client.apps_connections_open(app_token=slack.bot_token)) == "not_allowed_token_type"
    slack.team.scopes.remove("chat:write")
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel=room, text="x")
    assert caught.value.response["needed"] == "chat:write"
    assert "users:read" in caught.value.response["provided"]
    slack.revoke_tokens()
    assert await error_of(client.auth_test()) == "token_revoked"
    slack.uninstall()
    assert await error_of(client.auth_test()) == "account_inactive"
    assert await error_of(client.api_call("chat.sing")) == "unknown_method"
    assert slack.violations == ["chat.sing: unknown method"]


async def test_posting_follows_the_rules(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    ts = slack.say(ann, room, "hello")
    posted = await client.chat_postMessage(
        channel=room,
        text="hi <!here>",
        thread_ts=ts,
        metadata={"event_type": "turn", "event_payload": {"id": "1"}},
    )
    assert [seen.text for seen in slack.replies_to(room, ts)] == ["hi <!here>"]
    assert slack.notified[0].mention == "<!here>"
    whole = await client.conversations_replies(channel=room, ts=ts, include_all_metadata=True)
    assert whole["messages"][1]["metadata"]["event_payload"] == {"id": "1"}
    assert "metadata" not in (await client.conversations_replies(channel=room, ts=ts))["messages"][1]
    assert await error_of(client.api_call("chat.postMessage", params={"channel": room})) == "no_text"
    assert await error_of(client.chat_postMessage(channel="C404", text="x")) == "channel_not_found"
    other = slack.add_channel("other", [ann], bot_in=False)
    assert await error_of(client.chat_postMessage(channel=other, text="x")) == "not_in_channel"
    assert await error_of(client.chat_update(channel=room, ts=ts, text="x")) == "cant_update_message"
    assert await error_of(client.chat_update(channel=room, ts="1.000001", text="x")) == "message_not_found"
    assert await error_of(client.chat_update(channel=room, ts=posted["ts"], text="x" * 4001)) == "msg_too_long"
    assert await error_of(client.chat_postMessage(channel=room, markdown_text="x" * 12_001)) == "msg_too_long"
    assert await error_of(client.chat_postMessage(channel=room, text="x", username="Boss")) == "missing_scope"
    bad = {"event_type": "turn", "payload": {}}
    assert await error_of(client.chat_postMessage(channel=room, text="x", metadata=bad)) == "invalid_metadata_schema"
    await client.chat_update(channel=room, ts=posted["ts"], text="better")
    assert slack.visible(room)[-1].edited
    await client.chat_delete(channel=room, ts=posted["ts"])
    assert slack.replies_to(room, ts) == []
    slack.archive(room)
    assert await error_of(client.chat_postMessage(channel=room, text="x")) == "is_archived"
    assert slack.violations == []
    await error_of(client.chat_postMessage(channel=room, text="x", colour="red"))
    assert slack.violations == ["chat.postMessage: unknown arguments ['colour']"]


async def test_an_update_without_blocks_keeps_them(slack: SlackServer, client: AsyncWebClient, room: str) -> None:
    ts = (await client.chat_postMessage(channel=room, text="a", blocks=[SECTION]))["ts"]
    await client.chat_update(channel=room, ts=ts, text="b")
    assert slack.visible(room)[0].text == "*Hello*"
    await client.chat_update(channel=room, ts=ts, text="b", blocks=[])
    assert slack.visible(room)[0].text == "b"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "banner"},
        {"type": "section"},
        {"type": "section", "text": {"type": "mrkdwn", "text": ""}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x", "emoji": True}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x"}, "colour": "red"},
        {"type": "header", "text": {"type": "mrkdwn", "text": "x"}},
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}},
        {"type": "markdown", "text": "x" * 12_001},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11},
        {"type": "actions", "elements": []},
        {"type": "actions", "elements": [button(f"b{number}") for number in range(26)]},
        {"type": "actions", "elements": [button("same"), button("same")]},
        {"type": "actions", "elements": [button("b", "x" * 2001)]},
        {"type": "actions", "elements": [button("x" * 256)]},
        {"type": "actions", "elements": [FEEDBACK["elements"][0]]},
        {"type": "actions", "elements": [{"type": "overflow", "action_id": "o", "options": []}]},
        {"type": "context_actions", "elements": [button("b")]},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x"}, "block_id": "x" * 256},
        {"type": "image", "image_url": "https://x.test/a.png"},
        {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * 21]},
        {"type": "rich_text", "elements": [{"type": "text", "text": "x"}]},
    ],
)
async def test_blocks_that_slack_does_not_know_are_refused(
    slack: SlackServer, client: AsyncWebClient, room: str, block: Json
) -> None:
    assert await error_of(client.chat_postMessage(channel=room, text="x", blocks=[block])) == "invalid_blocks"
    assert slack.violations
    assert slack.visible(room) == []


async def test_limits_of_all_blocks_together(slack: SlackServer, client: AsyncWebClient, room: str) -> None:
    assert await error_of(client.chat_postMessage(channel=room, text="x", blocks=[SECTION] * 51)) == "invalid_blocks"
    same = [{**SECTION, "block_id": "a"}, {**SECTION, "block_id": "a"}]
    assert await error_of(client.chat_postMessage(channel=room, text="x", blocks=same)) == "invalid_blocks"
    markdown = [{"type": "markdown", "text": "x" * 7000}] * 2
    assert await error_of(client.chat_postMessage(channel=room, text="x", blocks=markdown)) == "invalid_blocks"
    long = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}}] * 5
    assert await error_of(client.chat_postMessage(channel=room, text="x", blocks=long)) == "msg_blocks_too_long"


async def test_a_stream_lives_and_dies(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    ts = slack.say(ann, room, "question")
    start: Json = {"channel": room, "thread_ts": ts}
    assert await error_of(client.chat_startStream(**start)) == "missing_recipient_team_id"
    start["recipient_team_id"] = slack.team.id
    assert await error_of(client.chat_startStream(**start)) == "missing_recipient_user_id"
    start["recipient_user_id"] = ann
    await client.assistant_threads_setStatus(channel_id=room, thread_ts=ts, status="is thinking")
    assert slack.statuses
    stream = await client.chat_stream(**start, buffer_size=1)
    await stream.append(markdown_text="Hello <!chan")
    assert not slack.statuses
    reply = str(stream.ts)
    assert slack.first_visible_at(room, reply) is not None
    assert await error_of(client.chat_update(channel=room, ts=reply, text="x")) == "streaming_state_conflict"
    await stream.append(markdown_text="nel> all")
    assert [notice.mention for notice in slack.notified] == ["<!channel>"]
    task = {"type": "task_update", "id": "1", "title": "Look", "status": "in_progress", "details": "a"}
    await stream.append(chunks=[task])
    await stream.append(chunks=[{**task, "status": "complete", "details": "b"}])
    long = "x" * 12_001
    assert await error_of(client.chat_appendStream(channel=room, ts=reply, markdown_text=long)) == "msg_too_long"
    await stream.stop(blocks=[FEEDBACK], metadata={"event_type": "t", "event_payload": {}})
    (seen,) = slack.replies_to(room, ts)
    assert seen.text.startswith("Hello <!channel> all")
    assert seen.tasks[0]["details"] == "ab"
    assert seen.metadata is not None
    assert seen.action_ids == ["feedback"]
    append = client.chat_appendStream(channel=room, ts=reply, markdown_text="x")
    assert await error_of(append) == "message_not_in_streaming_state"
    await client.chat_update(channel=room, ts=reply, text="all new", blocks=[])
    assert slack.replies_to(room, ts)[0].text == "all new"


async def test_streams_expire_are_stopped_and_can_be_refused(
    slack: SlackServer, client: AsyncWebClient, ann: str, room: str
) -> None:
    ts = slack.say(ann, room, "question")
    start: Json = {"channel": room, "thread_ts": ts, "recipient_team_id": slack.team.id, "recipient_user_id": ann}
    slack.stream_seconds = 0.05
    first = (await client.chat_startStream(**start, markdown_text="a"))["ts"]
    await asyncio.sleep(0.06)
    append = client.chat_appendStream(channel=room, ts=first, markdown_text="x")
    assert await error_of(append) == "message_not_in_streaming_state"
    slack.stream_seconds = 306
    second = (await client.chat_startStream(**start, markdown_text="a"))["ts"]
    assert slack.stop_session(ann, room, ts) == [second]
    assert await error_of(client.chat_appendStream(channel=room, ts=second, markdown_text="x")) == "stopped_by_user"
    third = (await client.chat_startStream(**start, markdown_text="a"))["ts"]
    chunk = {"type": "markdown_text", "text": "b"}
    mixed = client.chat_appendStream(channel=room, ts=third, chunks=[chunk])
    assert await error_of(mixed) == "streaming_mode_mismatch"
    stranger = slack.add_user("eve", team=slack.add_foreign_team())
    foreign = {**start, "recipient_user_id": stranger}
    assert await error_of(client.chat_startStream(**foreign)) == "team_not_found"
    slack.no_streams[room] = "channel_type_not_supported"
    assert await error_of(client.chat_startStream(**start)) == "channel_type_not_supported"
    slack.no_streams = {"*": "unknown_method"}
    assert await error_of(client.chat_startStream(**start)) == "unknown_method"


async def test_threads_have_roots(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    ts = slack.say(ann, room, "root")
    reply = (await client.chat_postMessage(channel=room, text="a", thread_ts=ts))["ts"]
    lost = client.chat_postMessage(channel=room, text="b", thread_ts="1700000000.000001")
    assert await error_of(lost) == "thread_not_found"
    slack.join(slack.add_user("bob"), room)
    joined = slack.visible(room)[-1].ts
    assert (
        await error_of(client.chat_postMessage(channel=room, text="b", thread_ts=joined)) == "cannot_reply_to_message"
    )
    assert slack.violations == []
    await client.chat_postMessage(channel=room, text="c", thread_ts=reply)
    assert len(slack.violations) == 1
    assert [seen.text for seen in slack.replies_to(room, ts)] == ["a", "c"]
    page = await client.conversations_replies(channel=room, ts=ts, limit=2)
    assert [message["text"] for message in page["messages"]] == ["root", "a"]
    more = await client.conversations_replies(
        channel=room, ts=ts, limit=2, cursor=page["response_metadata"]["next_cursor"]
    )
    assert [message["text"] for message in more["messages"]] == ["root", "c"]


async def test_a_status_ends_with_time_or_with_a_message(
    slack: SlackServer, client: AsyncWebClient, ann: str, room: str
) -> None:
    ts = slack.say(ann, room, "root")
    slack.status_seconds = 0.05
    await client.assistant_threads_setStatus(channel_id=room, thread_ts=ts, status="thinks")
    await until(lambda: not slack.statuses)
    slack.status_seconds = 120
    await client.assistant_threads_setStatus(channel_id=room, thread_ts=ts, status="thinks")
    await client.chat_postMessage(channel=room, text="a", thread_ts=ts)
    assert not slack.statuses
    assert [status for _, _, status, _ in slack.status_log] == ["thinks", "", "thinks", ""]


async def test_chaos_and_slowness(slack: SlackServer, client: AsyncWebClient, room: str) -> None:
    slack.fail("chat.postMessage", "slow:0.1")
    began = time.monotonic()
    await client.chat_postMessage(channel=room, text="x")
    assert time.monotonic() - began >= 0.1
    slack.chaos(0.5, ["internal_error"])
    refused = 0
    for _ in range(40):
        try:
            await client.chat_postMessage(channel=room, text="x")
        except SlackApiError:
            refused += 1
    assert 5 < refused < 35
    slack.chaos(0, [])
    await client.chat_postMessage(channel=room, text="x")


async def test_rates_and_faults(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    slack.fail("chat.postMessage", "429", retry_after=7)
    patient = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)
    patient.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
    slack.fail("chat.postMessage", "invalid_blocks")
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel=room, text="x")
    assert (caught.value.response.status_code, caught.value.response.headers["Retry-After"]) == (429, "7")
    assert await error_of(client.chat_postMessage(channel=room, text="x")) == "invalid_blocks"
    for kind, stands in (("500_before", 0), ("500_after", 1), ("reset_before", 1), ("reset_after", 2)):
        slack.fail("chat.postMessage", kind)
        alone = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=[])
        with pytest.raises((SlackApiError, aiohttp.ClientError)):
            await alone.chat_postMessage(channel=room, text="x")
        assert len(slack.visible(room)) == stands
    slack.limited_history = True
    ts = slack.visible(room)[0].ts
    await client.conversations_replies(channel=room, ts=ts)
    assert await error_of(client.conversations_replies(channel=room, ts=ts)) == "ratelimited"
    slack.limited_history, slack.enforce_rates = False, True
    question = slack.say(ann, room, "question")
    start: Json = {"channel": room, "thread_ts": question, "recipient_team_id": slack.team.id, "recipient_user_id": ann}
    for _ in range(20):
        await client.chat_startStream(**start)
    assert await error_of(client.chat_startStream(**start)) == "ratelimited"
    slack.enforce_rates = False
    slack.fail("chat.startStream", "429", retry_after=0)
    await patient.chat_startStream(**start)


async def test_one_mention_is_two_events_and_each_goes_to_one_connection(
    slack: SlackServer, ann: str, room: str
) -> None:
    app, heard = bolt(slack), []

    @app.event("app_mention")
    async def mentioned(event: Json, body: Json) -> None:
        heard.append(("app_mention", body["event_id"], event["ts"]))

    @app.event("message")
    async def said(event: Json, body: Json) -> None:
        heard.append(("message", body["event_id"], event["ts"]))

    async with connected(slack, app), connected(slack, app):
        ts = slack.say(ann, room, slack.mention("see https://x.test please"))
        await until(lambda: len(heard) == 2 and not slack.unacknowledged)
        assert {kind for kind, _, _ in heard} == {"app_mention", "message"}
        assert len({event_id for _, event_id, _ in heard}) == 2
        assert {at for _, _, at in heard} == {ts}
        (mention, message) = slack.deliveries
        assert mention.event["blocks"][0]["elements"][0]["elements"][0] == {"type": "user", "user_id": slack.bot_user}
        assert message.event["channel_type"] == "channel"
        assert message.event["text"].endswith("see <https://x.test> please")
        assert message.payload["authorizations"][0]["user_id"] == slack.bot_user
        assert message.payload["is_ext_shared_channel"] is False


async def test_events_of_slack_connect_name_the_other_workspace(slack: SlackServer, ann: str) -> None:
    foreign = slack.add_foreign_team()
    eve = slack.add_user("eve", team=foreign)
    shared = slack.add_channel("partners", [ann, eve], shared=True)
    slack.say(eve, shared, "hello")
    (delivery,) = slack.deliveries
    assert delivery.payload["is_ext_shared_channel"]
    assert delivery.payload["context_team_id"] == slack.team.id
    assert delivery.event["user_team"] == delivery.event["source_team"] == foreign


async def test_what_is_not_acknowledged_comes_again(slack: SlackServer, ann: str, room: str) -> None:
    slack.ack_seconds, slack.retry_after = 0.1, (0.1, 0.1)
    heard: list[Any] = []
    app = bolt(slack)

    @app.event("message")
    async def said(event: Json, request: AsyncBoltRequest) -> None:
        heard.append((event["text"], request.headers.get("x-slack-retry-num")))

    slack.say(ann, room, "nobody hears")
    delivery = slack.deliveries[0]
    await until(lambda: delivery.given_up)
    assert len(delivery.sent_at) == 4
    async with connected(slack, app):
        slack.redeliver_unacknowledged()
        await until(lambda: delivery.acked_at)
        await until(lambda: heard == [("nobody hears", ["4"])])
        slack.silence()
        slack.say(ann, room, "zombie")
        await until(lambda: "timeout" in slack.deliveries[1].reasons)
        async with connected(slack, app):
            await until(lambda: slack.deliveries[1].acked_at)
        slack.cut()


async def test_an_acknowledged_event_can_come_twice(slack: SlackServer, ann: str, room: str) -> None:
    slack.double_deliveries = 1.0
    heard: list[str] = []
    app = bolt(slack)

    @app.event("message")
    async def said(body: Json) -> None:
        heard.append(body["event_id"])

    async with connected(slack, app):
        slack.say(ann, room, "twice")
        await until(lambda: len(heard) == 2)
        assert len(set(heard)) == 1


async def test_a_connection_that_slack_refreshes_is_replaced(slack: SlackServer, ann: str, room: str) -> None:
    app = bolt(slack)

    @app.event("message")
    async def said(body: Json) -> None:
        pass

    async with connected(slack, app):
        number = slack.connections[0].number
        slack.disconnect()
        await until(lambda: slack.connections and slack.connections[-1].number != number)
        slack.say(ann, room, "after")
        await until(lambda: slack.deliveries[-1].acked_at)


async def test_a_connection_that_breaks_or_falls_silent_is_opened_anew(slack: SlackServer, ann: str, room: str) -> None:
    app = bolt(slack)

    @app.event("message")
    async def said(body: Json) -> None:
        pass

    def newer(known: set[int]) -> bool:
        return bool({connection.number for connection in slack.connections} - known)

    async with connected(slack, app, ping_interval=0.1):
        for harm in (slack.cut, slack.silence):
            before = {connection.number for connection in slack.connections}
            assert harm() >= 1
            await until(partial(newer, before))
        slack.say(ann, room, "still there?")
        slack.ack_seconds = 0.2
        slack.redeliver_unacknowledged()
        await until(lambda: slack.deliveries[-1].acked_at)


@asynccontextmanager
async def over_http(slack: SlackServer, app: AsyncApp) -> AsyncIterator[None]:
    """The app behind signed requests."""

    async def take(request: web.Request) -> web.Response:
        headers: dict[str, str | Sequence[str]] = dict(request.headers)
        answer = await app.async_dispatch(AsyncBoltRequest(body=await request.text(), headers=headers))
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={key: str(value[0]) for key, value in answer.headers.items()},
        )

    server = web.Application()
    server.router.add_post("/slack/events", take)
    runner = web.AppRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    slack.request_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    try:
        yield
    finally:
        await runner.cleanup()


async def test_signed_http_carries_events_commands_and_clicks(slack: SlackServer, ann: str, room: str) -> None:
    app = bolt(slack)
    heard: list[Any] = []

    @app.event("message")
    async def said(event: Json, say: Any) -> None:
        await say(text="pong", blocks=[{"type": "actions", "elements": [button("again")]}], thread_ts=event["ts"])

    @app.command("/support")
    async def support(ack: Any, command: Json) -> None:
        await ack(f"You asked {command['text']}")

    @app.view("ticket")
    async def ticket(ack: Any) -> None:
        await ack(response_action="errors", errors={"subject": "Say more"})

    @app.action("again")
    async def again(ack: Any, body: Json, respond: Any) -> None:
        await ack()
        heard.append(body["actions"][0]["value"])
        await respond(text="done", replace_original=False)

    async with over_http(slack, app):
        assert await asyncio.to_thread(slack.verify_url, "abc") == (200, b'{"challenge": "abc"}')
        ts = slack.say(ann, room, "ping")
        (reply,) = await until(lambda: slack.replies_to(room, ts))
        slack.slash(ann, room, "/support", "x y")
        await until(lambda: [seen.text for seen in slack.ephemeral(ann)] == ["You asked x y"])
        slack.click(ann, room, reply.ts, "again")
        await until(lambda: heard == ["v"] and len(slack.ephemeral(ann)) == 2)
        client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)
        await client.views_open(trigger_id=slack.new_trigger(ann, slack.team.id), view=FORM)
        response = await asyncio.to_thread(slack.submit, ann, slack.views[0].id, {"subject": "x"})
        assert response["errors"] == {"subject": "Say more"}
        assert slack.violations == []
        slack.signing_secret, slack.retry_after = "another", (0.0, 0.0)
        slack.say(ann, room, "forged")
        refused = slack.deliveries[-1]
        await until(lambda: refused.given_up)
        assert refused.statuses == [401] * 4
        assert refused.reasons == ["http_error"] * 3


async def test_forms_shortcuts_and_the_home_tab(slack: SlackServer, ann: str, room: str) -> None:
    app = bolt(slack)

    @app.shortcut("ask")
    async def ask(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=FORM)

    @app.view("ticket")
    async def ticket(ack: Any, view: Json) -> None:
        if view["state"]["values"]["subject"]["text"]["value"] == "bad":
            await ack(response_action="errors", errors={"subject": "Say more"})
        else:
            await ack()

    @app.event("app_home_opened")
    async def opened(event: Json, client: AsyncWebClient) -> None:
        assert event["tab"] == "home"
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": [SECTION]})

    async with connected(slack, app):
        ts = slack.say(ann, room, "broken")
        slack.message_shortcut(ann, room, ts, "ask")
        (view,) = await until(lambda: slack.views)
        response = await asyncio.to_thread(slack.submit, ann, view.id, {"subject": "bad"})
        assert response["response_action"] == "errors"
        assert slack.views
        await asyncio.to_thread(slack.submit, ann, view.id, {"text": "good"})
        assert not slack.views
        slack.open_home_tab(ann)
        assert (await until(lambda: slack.home(ann)))["blocks"][0]["text"]["text"] == "*Hello*"
    assert slack.violations == []


async def test_views_are_checked(slack: SlackServer, client: AsyncWebClient, ann: str) -> None:
    trigger = slack.new_trigger(ann, slack.team.id)
    long = {**FORM, "title": {"type": "plain_text", "text": "x" * 25}}
    assert await error_of(client.views_open(trigger_id=trigger, view=long)) == "invalid_arguments"
    assert await error_of(client.views_open(trigger_id="other", view=FORM)) == "invalid_trigger_id"
    await client.views_open(trigger_id=trigger, view=FORM)
    assert await error_of(client.views_open(trigger_id=trigger, view=FORM)) == "invalid_trigger_id"
    slack.trigger_seconds = -1
    late = slack.new_trigger(ann, slack.team.id)
    assert await error_of(client.views_open(trigger_id=late, view=FORM)) == "expired_trigger_id"


async def test_feedback_and_ephemeral_messages(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    ts = (await client.chat_postMessage(channel=room, text="answer", blocks=[SECTION, FEEDBACK]))["ts"]
    action = slack.click(ann, room, ts, "feedback", "bad").payload["actions"][0]
    assert (action["type"], action["value"]) == ("feedback_buttons", "bad")
    with pytest.raises(AssertionError):
        slack.click(ann, room, ts, "feedback", "ugly")
    blocks = [{"type": "actions", "elements": [button("only")]}]
    await client.chat_postEphemeral(channel=room, user=ann, text="psst", blocks=blocks)
    (seen,) = slack.ephemeral(ann)
    assert await error_of(client.chat_update(channel=room, ts=seen.ts, text="x")) == "message_not_found"
    click = slack.click_ephemeral(ann, room, "only").payload
    assert click["container"]["is_ephemeral"]
    assert "message" not in click
    async with aiohttp.ClientSession() as session:
        for number in range(6):
            body = {"text": f"{number}", "replace_original": True}
            async with session.post(click["response_url"], json=body) as response:
                assert response.status == (200 if number < 5 else 404)
    assert [seen.text for seen in slack.ephemeral(ann)] == ["4"]


async def test_files_go_both_ways(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    ts = slack.share_file(ann, room, "log.txt", b"content", text="see this")
    file = slack.deliveries[-1].event["files"][0]
    assert slack.deliveries[-1].event["subtype"] == "file_share"
    assert (await client.files_info(file=file["id"]))["file"]["size"] == 7
    async with aiohttp.ClientSession() as session:
        async with session.get(file["url_private"]) as response:
            assert response.content_type == "text/html"
        headers = {"Authorization": f"Bearer {slack.bot_token}"}
        async with session.get(file["url_private"], headers=headers) as response:
            assert await response.read() == b"content"
    slack.share_file(ann, room, "far.txt", b"far", check_info=True)
    shown = slack.deliveries[-1].event["files"][0]
    assert shown["file_access"] == "check_file_info"
    assert (await client.files_info(file=shown["id"]))["file"]["name"] == "far.txt"
    await client.files_upload_v2(channel=room, thread_ts=ts, filename="a.txt", content="abc")
    (seen,) = slack.replies_to(room, ts)
    assert seen.files[0]["name"] == "a.txt"


async def test_texts_are_escaped_as_slack_does(slack: SlackServer, ann: str, room: str) -> None:
    slack.say(ann, room, f"a < b & <@{ann}> <https://x.test|x> https://y.test")
    event = slack.sent("message")[0].event
    assert event["text"] == f"a &lt; b &amp; <@{ann}> <https://x.test|x> <https://y.test>"
    parts = event["blocks"][0]["elements"][0]["elements"]
    assert [part["type"] for part in parts] == ["text", "user", "text", "link", "text", "link"]
    assert parts[0]["text"] == "a < b & "


async def test_edits_deletions_and_tombstones(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    ts = slack.say(ann, room, "one")
    slack.edit(room, ts, "two")
    changed = slack.deliveries[-1].event
    assert (changed["subtype"], changed["message"]["text"]) == ("message_changed", "two")
    assert changed["previous_message"]["text"] == "one"
    reply = slack.say(ann, room, "reply", thread_ts=ts)
    assert slack.deliveries[-1].event["parent_user_id"] == ann
    slack.delete(room, ts)
    assert slack.deliveries[-1].event["message"]["subtype"] == "tombstone"
    slack.delete(room, reply)
    gone = slack.deliveries[-1].event
    assert (gone["subtype"], gone["deleted_ts"]) == ("message_deleted", reply)
    await client.chat_postMessage(channel=room, text="mine")
    assert slack.deliveries[-1].event["bot_id"] == slack.team.bot_id


async def test_the_agents_surface(slack: SlackServer, client: AsyncWebClient, ann: str) -> None:
    direct = slack.dm(ann)
    ts = slack.say(ann, direct, "hi")
    prompts = [{"title": "Order", "message": "Where is my order?"}]
    await client.assistant_threads_setSuggestedPrompts(channel_id=direct, thread_ts=ts, prompts=prompts)
    assert not slack.suggested_prompts
    await client.assistant_threads_setSuggestedPrompts(channel_id=direct, prompts=prompts)
    assert slack.suggested_prompts[direct]["prompts"] == prompts
    five = client.assistant_threads_setSuggestedPrompts(channel_id=direct, prompts=prompts * 5)
    assert await error_of(five) == "invalid_arguments"
    rename = client.agents_sessions_rename(channel_id=direct, thread_ts=ts, title="Order")
    assert await error_of(rename) == "session_not_found"
    await client.agents_sessions_setStatus(channel_id=direct, thread_ts=ts, status="processing", title="A")
    await client.agents_sessions_rename(channel_id=direct, thread_ts=ts, title="Order")
    assert slack.sessions[direct, ts]["title"] == "Order"
    assert slack.stop_session(ann, direct, ts) == []
    assert slack.deliveries[-1].event["streaming_message_ts"] == []


async def test_events_come_out_of_order_and_those_said_early_are_sent(ann: str, slack: SlackServer, room: str) -> None:
    heard: list[str] = []
    app = bolt(slack)

    @app.event("message")
    async def said(event: Json) -> None:
        heard.append(event["text"])

    async with connected(slack, app):
        slack.out_of_order = True
        slack.say(ann, room, "first")
        slack.say(ann, room, "second")
        await until(lambda: heard == ["second", "first"])
        slack.say(ann, room, "alone")
        await until(lambda: heard[-1] == "alone")


def test_what_was_said_before_the_server_ran_is_sent() -> None:
    server = SlackServer()
    ann = server.add_user("ann")
    server.say(ann, server.dm(ann), "early")
    server.retry_after = (0.01, 0.01)
    with serving(server):
        server.wait_for(lambda: server.deliveries[0].given_up)
    assert server.deliveries[0].reasons == ["connection_failed"] * 3


async def test_what_people_do_becomes_events(slack: SlackServer, client: AsyncWebClient, ann: str, room: str) -> None:
    robot = slack.add_user("robot", bot=True)
    slack.join(robot, room)
    slack.bot_says(robot, room, "beep")
    assert slack.deliveries[-1].event["bot_id"] == slack.users[robot].bot_id
    slack.bot_says(robot, room, "beep", legacy=True)
    assert slack.deliveries[-1].event["subtype"] == "bot_message"
    ts = slack.say(ann, room, "hi")
    slack.react(ann, room, ts, "+1")
    assert slack.deliveries[-1].event["item"]["ts"] == ts
    await client.reactions_add(channel=room, timestamp=ts, name="eyes")
    assert await error_of(client.reactions_add(channel=room, timestamp=ts, name="eyes")) == "already_reacted"
    await client.reactions_remove(channel=room, timestamp=ts, name="eyes")
    slack.open_messages_tab(ann)
    assert slack.deliveries[-1].event["tab"] == "messages"
    slack.agent_view = False
    root = slack.start_assistant_thread(ann)
    assert slack.deliveries[-1].event["assistant_thread"]["thread_ts"] == root
    await client.assistant_threads_setTitle(channel_id=slack.dm(ann), thread_ts=root, title="Help")
    assert slack.titles[slack.dm(ann), root] == "Help"
    assert slack.global_shortcut(ann, "new").payload["type"] == "shortcut"
    options = [{"text": {"type": "plain_text", "text": name}, "value": name} for name in ("low", "high")]
    menu = {"type": "static_select", "action_id": "urgency", "options": options}
    blocks = [{"type": "actions", "elements": [menu]}]
    posted = (await client.chat_postMessage(channel=room, text="How urgent?", blocks=blocks))["ts"]
    action = slack.click(ann, room, posted, "urgency", "high").payload["actions"][0]
    assert action["selected_option"]["value"] == "high"
    home = {"type": "home", "blocks": [{"type": "actions", "elements": [button("refresh")]}]}
    view = (await client.views_publish(user_id=ann, view=home))["view"]["id"]
    assert slack.click_view(ann, view, "refresh").payload["view"]["id"] == view
    slack.remove_bot(room)
    count = len(slack.deliveries)
    slack.say(ann, room, slack.mention("anybody?"))
    assert len(slack.deliveries) == count
    assert await error_of(client.chat_postMessage(channel=room, text="x")) == "not_in_channel"
    assert await error_of(client.conversations_replies(channel=room, ts=ts)) == "not_in_channel"
    assert slack.violations == []


async def test_links_that_would_unfurl_are_kept(slack: SlackServer, client: AsyncWebClient, room: str) -> None:
    await client.chat_postMessage(channel=room, text="https://x.test", unfurl_links=False, unfurl_media=False)
    assert not slack.unfurled
    await client.chat_postMessage(channel=room, text="https://x.test", unfurl_links=False)
    assert len(slack.unfurled) == 1


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
async def test_the_app_is_installed_in_another_workspace(slack: SlackServer) -> None:
    other = slack.add_team("Globex", installed=False)
    async with aiohttp.ClientSession() as session:
        query = {"client_id": slack.client_id, "scope": "chat:write,users:read", "state": "s1"}
        query["redirect_uri"] = "http://127.0.0.1/back"
        async with session.get(f"{slack.url}/oauth/v2/authorize", params=query, allow_redirects=False) as response:
            back = parse_qs(urlsplit(response.headers["Location"]).query)
    client = AsyncWebClient(base_url=slack.api_url)
    access: Json = {"client_id": slack.client_id, "client_secret": slack.client_secret}
    answer = await client.oauth_v2_access(**access, code=back["code"][0])
    assert back["state"] == ["s1"]
    assert answer["team"]["id"] == other.id
    assert (await client.auth_test(token=answer["access_token"]))["team"] == "Globex"
    assert await error_of(client.oauth_v2_access(**access, code=back["code"][0])) == "invalid_code"
    bob = slack.add_user("bob", team=other)
    slack.say(bob, slack.dm(bob), "hello")
    assert slack.deliveries[-1].payload["team_id"] == other.id
