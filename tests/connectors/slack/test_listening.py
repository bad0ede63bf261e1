"""The connector against a local Slack, over Socket Mode and signed HTTP, with real Bolt."""

from __future__ import annotations

import asyncio
import hmac
import http.client
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.errors import DeliveryError, SettingsError
from agent.messages import Address, Answer, Deleted, Delivery, Edited, Inbound, Message, Post, Stopped
from connectors.slack.connector import SlackConnector, SlackSettings
from tests.servers.slack import SlackServer, serving


class Kept:
    """Posts in memory."""

    async def posts(self, turn: str, /) -> Sequence[Post]:
        return ()

    async def keep_post(self, post: Post, /) -> None:
        pass


@dataclass
class Heard:
    """Collects what was received. `fails` makes it raise that often; while `open` is not set it waits."""

    inbound: list[Inbound] = field(default_factory=list)
    fails: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, inbound: Inbound) -> None:
        await self.open.wait()
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the store is down")
        self.inbound.append(inbound)

    @property
    def messages(self) -> list[Message]:
        return [item for item in self.inbound if isinstance(item, Message)]

    async def count(self, number: int, seconds: float = 5) -> list[Inbound]:
        await until(lambda: len(self.inbound) >= number, seconds)
        return self.inbound


async def until(holds: Callable[[], Any], seconds: float = 5) -> Any:
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, f"not within {seconds} s"
        await asyncio.sleep(0.01)
    return found


def settings_for(slack: SlackServer, mode: str = "socket") -> SlackSettings:
    return SlackSettings(
        bot_token=slack.bot_token,
        app_token=slack.app_token if mode == "socket" else "",
        signing_secret="" if mode == "socket" else slack.signing_secret,
        api_url=slack.api_url,
        host="127.0.0.1",
        port=0,
        company="Acme",
        prompts=(("Where is my order?", "Where is my order?"),),
        ping_seconds=0.6,
        backoff=(0.05, 0.2),
    )


@asynccontextmanager
async def listening(
    slack: SlackServer, settings: SlackSettings | None = None, heard: Heard | None = None, **more: Any
) -> AsyncIterator[tuple[SlackConnector, Heard]]:
    if heard is None:
        heard = Heard()
        heard.open.set()
    used = settings or settings_for(slack)
    connector = SlackConnector(used, Kept(), **more)
    task = asyncio.create_task(connector.listen(heard.receive))
    await until(lambda: connector.connected or task.done())
    if task.done():
        await connector.close()
        task.result()
    if not used.app_token:
        slack.request_url = f"http://127.0.0.1:{connector.port}/slack/events"
    try:
        yield connector, heard
    finally:
        await connector.close()
        await asyncio.wait_for(task, 5)
        slack.request_url = ""


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
        assert server.violations == []
        assert server.bad_acks == []


@pytest.fixture(params=["socket", "http"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_every_kind_of_event(slack: SlackServer, mode: str) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    async with listening(slack, settings_for(slack, mode)) as (_, heard):
        asked = slack.say(ann, room, slack.mention("Where is my parcel?"))
        await heard.count(2)
        mention, message = heard.messages
        assert mention.id == message.id == f"slack:{slack.team.id}/{room}#{asked}"
        assert mention.address == Address("slack", slack.team.id, room, asked)
        assert (mention.text, mention.addressed, mention.author) == ("Where is my parcel?", True, ann)
        assert not mention.outsiders
        assert not mention.joins
        heard.inbound.clear()

        reply = slack.say(ann, room, "And when?", thread_ts=asked)
        (found,) = await heard.count(1)
        assert isinstance(found, Message)
        assert found.address.thread == asked
        assert not found.addressed
        slack.edit(room, reply, "And on which day?")
        edited = (await heard.count(2))[1]
        assert isinstance(edited, Edited)
        assert (edited.id, edited.text) == (found.id, "And on which day?")
        slack.delete(room, reply)
        deleted = (await heard.count(3))[2]
        assert isinstance(deleted, Deleted)
        assert deleted.id == found.id
        heard.inbound.clear()

        home = slack.dm(ann)
        direct = slack.say(ann, home, "Hello")
        shared = slack.share_file(ann, home, "a.txt", b"text", thread_ts=direct)
        slack.stop_session(ann, home, direct)
        await heard.count(3)
        first, file = sorted(heard.messages, key=lambda message: message.id)
        (stopped,) = (item for item in heard.inbound if not isinstance(item, Message))
        assert (first.addressed, first.joins) == (True, True)
        assert file.id.endswith(shared)
        assert not file.joins
        assert file.attachments[0].name == "a.txt"
        assert file.attachments[0].source.startswith(slack.url)
        assert isinstance(stopped, Stopped)
        assert stopped.address == Address("slack", slack.team.id, home, direct)
        await until(lambda: not slack.unacknowledged)


async def test_bots_and_notes_are_not_heard(slack: SlackServer, mode: str) -> None:
    ann, other = slack.add_user("ann"), slack.add_user("other", bot=True)
    room = slack.add_channel("help", [ann, other])
    async with listening(slack, settings_for(slack, mode)) as (connector, heard):
        slack.bot_says(other, room, "I am a bot")
        slack.bot_says(other, room, "I am an old bot", legacy=True)
        slack.join(slack.add_user("ben"), room)
        client = await connector.clients.for_space(slack.team.id)
        posted = await client.chat_postMessage(channel=room, text="Mine")
        await client.chat_update(channel=room, ts=posted["ts"], text="Mine, changed")
        await client.chat_delete(channel=room, ts=posted["ts"])
        await until(lambda: slack.deliveries and not slack.unacknowledged)
        assert heard.inbound == []


async def test_nothing_is_acknowledged_before_it_is_received(slack: SlackServer, mode: str) -> None:
    slack.ack_seconds, slack.retry_after = 0.4, (0.2, 0.3)
    ann = slack.add_user("ann")
    room = slack.dm(ann)
    async with listening(slack, settings_for(slack, mode), Heard()) as (_, heard):
        slack.say(ann, room, "First")
        (delivery,) = await until(lambda: slack.deliveries)
        await asyncio.sleep(0.3)
        assert delivery.acked_at is None
        await until(lambda: len(delivery.sent_at) > 1)
        heard.open.set()
        await until(lambda: delivery.acked_at)
        await heard.count(2)
        assert len({message.id for message in heard.messages}) == 1

        heard.inbound.clear()
        heard.fails = 1
        slack.say(ann, room, "Second")
        await heard.count(1)
        second = slack.deliveries[-1]
        await until(lambda: second.acked_at)
        assert len(second.sent_at) == 2


async def test_a_doubled_event_is_the_same_message(slack: SlackServer, mode: str) -> None:
    slack.double_deliveries = 1.0
    ann = slack.add_user("ann")
    async with listening(slack, settings_for(slack, mode)) as (_, heard):
        slack.say(ann, slack.dm(ann), "Once")
        await heard.count(2)
        assert len({message.id for message in heard.messages}) == 1


async def test_unsigned_large_and_strange_requests_are_refused(
    slack: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    def post(port: int, body: bytes, **headers: str) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("POST", "/slack/events", body, {"Content-Type": "application/json", **headers})
            return connection.getresponse().status

    ann = slack.add_user("ann")
    async with listening(slack, settings_for(slack, "http")) as (connector, heard):
        body = json.dumps({"type": "event_callback", "team_id": slack.team.id, "event": {"type": "message"}}).encode()
        assert await asyncio.to_thread(post, connector.port, body) == 401
        forged = {"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=" + "0" * 64}
        assert await asyncio.to_thread(lambda: post(connector.port, body, **forged)) == 401
        for strange in (b"\xff", b"[1]", b"null", b"[" * 50_000, b'{"authorizations":"x"}'):
            assert await asyncio.to_thread(post, connector.port, strange) == 401
        for moment in ("abc", "1.5", "\u00b2", "9" * 400, ""):
            stamped = {**forged, "X-Slack-Request-Timestamp": moment}
            assert await asyncio.to_thread(lambda: post(connector.port, body, **stamped)) == 401  # noqa: B023
        for strange in (b"[1]", b"null", b"\xff\xfe", b"{"):
            now = str(int(time.time()))
            digest = hmac.new(slack.signing_secret.encode(), b"v0:" + now.encode() + b":" + strange, "sha256")
            signed = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={digest.hexdigest()}"}
            assert await asyncio.to_thread(lambda: post(connector.port, strange, **signed)) == 400  # noqa: B023
        limited = json.dumps({"type": "app_rate_limited", "team_id": slack.team.id, "minute_rate_limited": 1}).encode()
        assert await asyncio.to_thread(post, connector.port, limited) == 401
        digest = hmac.new(slack.signing_secret.encode(), b"v0:" + now.encode() + b":" + limited, "sha256")
        signed["X-Slack-Signature"] = f"v0={digest.hexdigest()}"
        assert await asyncio.to_thread(lambda: post(connector.port, limited, **signed)) == 200
        assert f"events of the workspace {slack.team.id} back" in caplog.text
        assert await asyncio.to_thread(post, connector.port, b"x" * (1024 * 1024 + 1)) == 413
        assert await asyncio.to_thread(slack.verify_url) == (200, b'{"challenge": "challenge-1"}')
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        checked = b"ssl_check=1&token=local"
        assert await asyncio.to_thread(lambda: post(connector.port, checked, **form)) == 200
        assert (
            await asyncio.to_thread(lambda: post(connector.port, b"command=/support&text=ssl_check=1", **form)) == 401
        )
        slack.signing_secret = "another"
        slack.say(ann, slack.dm(ann), "Hello")
        await until(lambda: slack.deliveries[-1].statuses)
        assert slack.deliveries[-1].statuses[0] == 401
        assert heard.inbound == []


async def test_staff_and_outsiders(slack: SlackServer) -> None:
    ann, sue = slack.add_user("ann"), slack.add_user("sue")
    guest, foreigner = slack.add_user("gus", guest=True), slack.add_user("fay", team=slack.add_foreign_team())
    room = slack.add_channel("help", [ann, sue, guest])
    shared = slack.add_channel("partners", [ann, sue, foreigner], shared=True)
    staff = slack.add_channel("staff", [sue, guest, foreigner], shared=True)
    settings = replace(settings_for(slack), staff=(foreigner,), staff_channel=staff)
    async with listening(slack, settings) as (_, heard):
        asked = slack.say(ann, room, "Hello?")
        slack.say(sue, room, f"<@{ann}> I am on it", thread_ts=asked)
        slack.say(guest, room, "Me too", thread_ts=asked)
        slack.say(foreigner, shared, "From outside")
        slack.say(sue, slack.dm(sue), "For myself")
        await heard.count(5)
        by_author = {(message.author, message.address.room): message for message in heard.messages}
        assert by_author[ann, room].role == "customer"
        assert not by_author[ann, room].outsiders
        assert by_author[sue, room].role == "staff"
        assert by_author[sue, room].to_others
        assert by_author[sue, room].text == "@ann I am on it"
        assert by_author[guest, room].role == "customer"
        assert by_author[guest, room].outsiders
        assert by_author[foreigner, shared].role == "customer"
        assert by_author[foreigner, shared].outsiders
        assert by_author[foreigner, shared].author_space == slack.users[foreigner].team
        assert by_author[sue, slack.dm(sue)].role == "customer"


async def test_a_slow_look_up_delays_no_acknowledgement_for_long(slack: SlackServer) -> None:
    sue = slack.add_user("sue")
    room = slack.add_channel("help", [sue])
    settings = replace(settings_for(slack), staff=(sue,), patience=0.2)
    async with listening(slack, settings) as (_, heard):
        slack.fail("users.info", "slow:1")
        slack.say(sue, room, "Is this staff?")
        await heard.count(1, seconds=0.9)
        assert heard.messages[0].role == "customer"


async def test_events_of_other_workspaces_are_ignored(slack: SlackServer, mode: str) -> None:
    other = slack.add_team("Other")
    bob = slack.add_user("bob", team=other)
    async with listening(slack, settings_for(slack, mode)) as (_, heard):
        slack.say(bob, slack.dm(bob, other), "Hello")
        slack.open_home_tab(bob, other)
        await until(lambda: slack.deliveries and not slack.unacknowledged)
        assert heard.inbound == []
        assert slack.called("views.publish") == []


async def test_the_environment_of_bolt_changes_nothing(
    slack: SlackServer, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET", "BOT_TOKEN", "SIGNING_SECRET", "VERIFICATION_TOKEN"):
        monkeypatch.setenv(f"SLACK_{name}", "of-the-environment")
    ann = slack.add_user("ann")
    async with listening(slack, settings_for(slack, mode)) as (_, heard):
        slack.say(ann, slack.dm(ann), "Hello")
        await heard.count(1)
    assert "Hello" not in caplog.text


async def test_an_edit_is_not_received_before_its_message(slack: SlackServer) -> None:
    ann = slack.add_user("ann")
    room = slack.dm(ann)
    async with listening(slack) as (_, heard):
        slack.fail("users.info", "slow:0.3")
        ts = slack.say(ann, room, "Worse")
        slack.edit(room, ts, "Better")
        said, edited = await heard.count(2)
        assert isinstance(said, Message)
        assert isinstance(edited, Edited)


async def test_people_are_looked_up_once(slack: SlackServer) -> None:
    ann = slack.add_user("ann")
    room = slack.dm(ann)
    async with listening(slack) as (_, heard):
        for number in range(5):
            slack.say(ann, room, f"Message {number}")
        await heard.count(5)
        assert len(slack.called("users.info")) == 1


async def test_a_file_that_has_to_be_looked_up(slack: SlackServer) -> None:
    ann = slack.add_user("ann")
    async with listening(slack) as (connector, heard):
        slack.share_file(ann, slack.dm(ann), "a.txt", b"the content", check_info=True)
        await heard.count(1)
        message = heard.messages[0]
        assert await connector.fetch(message.address, message.attachments[0], 3) == b"the"


async def test_the_revocation_of_an_older_token(slack: SlackServer) -> None:
    async with listening(slack) as (connector, _):
        tokens = {"oauth": [], "bot": [slack.bot_user]}
        slack.emit({"type": "tokens_revoked", "tokens": tokens, "event_ts": slack.now_ts()}, team=slack.team.id)
        await until(lambda: slack.deliveries and not slack.unacknowledged)
        assert connector.connected


async def test_a_revoked_token(slack: SlackServer, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(slack) as (connector, _):
        assert connector.problem == ""
        slack.revoke_tokens()
        await until(lambda: not connector.connected)
        assert "SLACK_BOT_TOKEN" in connector.problem
        assert "was removed" in caplog.text


@pytest.mark.parametrize(
    ("change", "named"),
    [({"bot_token": "xoxb-wrong"}, "SLACK_BOT_TOKEN"), ({"app_token": "xapp-wrong"}, "SLACK_APP_TOKEN")],
)
async def test_a_refused_token_is_named(slack: SlackServer, change: Mapping[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        async with listening(slack, replace(settings_for(slack), **change)):
            pass


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"bot_token": "xapp-1", "app_token": "xapp-1"}, "SLACK_BOT_TOKEN"),
        ({"app_token": "xapp-1"}, "SLACK_BOT_TOKEN"),
        ({"bot_token": "xoxb-1", "app_token": "wrong"}, "SLACK_APP_TOKEN"),
        ({"bot_token": "xoxb-1"}, "SLACK_SIGNING_SECRET"),
        ({"client_id": "1", "app_token": "xapp-1"}, "SLACK_CLIENT_SECRET"),
    ],
)
def test_wrong_settings_are_named(given: Mapping[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        SlackConnector(SlackSettings(**given), Kept())  # type: ignore[arg-type]


async def test_missing_scopes_are_named(slack: SlackServer, caplog: pytest.LogCaptureFixture) -> None:
    slack.team.scopes.remove("users:read")
    async with listening(slack):
        assert "users:read" in caplog.text
        assert "guests" in caplog.text


def test_settings_show_no_secrets() -> None:
    secrets = ("bot_token", "app_token", "signing_secret", "client_secret", "encryption_key", "database")
    made = SlackSettings(**{name: f"secret-{name}" for name in secrets})  # type: ignore[arg-type]
    assert "secret-" not in repr(made)


async def test_a_token_that_is_refused_is_told_until_it_is_accepted_again(
    slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.slack.connector.SECONDS_BETWEEN_LOOKS", 0.05)
    ann = slack.add_user("ann")
    async with listening(slack, settings_for(slack)) as (connector, heard):
        slack.say(ann, slack.dm(ann), "Hello")
        await heard.count(1)
        question = heard.messages[0]
        slack.fail("chat.postMessage", "token_revoked", times=3)
        slack.fail("auth.test", "token_revoked", times=3)
        with pytest.raises(DeliveryError):
            await connector.deliver(Delivery(question.address, question.id, Answer("Hello!"), question))
        assert not connector.connected
        assert "revoked" in connector.problem
        await until(lambda: connector.connected)
