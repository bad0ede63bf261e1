"""Whole journeys in Slack: real processes, the local Slack, and what customers and staff see in it."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.connectors.slack.test_oauth import install
from tests.journeys.house import BUTTON, PETS, QUESTION, TAKEN_OVER, House, LocalSlack, housing, sync
from tests.journeys.running import running
from tests.servers.slack import Seen

INTERNAL = "How much goodwill credit may a team lead give?"
ROOMS = {
    "every": 'mode = "every-question"',
    "sure": 'mode = "only-when-sure"',
    "off": 'mode = "off"',
    "team": 'audience = "public, internal"',
    "partners": 'audience = "public, internal"',
}


def configure(slack: LocalSlack) -> str:
    """The channels of `ROOMS`, as somebody would set them."""
    lines = []
    for name, setting in ROOMS.items():
        room = slack.add_channel(name, shared=name == "partners")
        lines += [f'[channels."slack:{slack.team.id}/{room}"]', setting]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sync(tmp_path_factory.mktemp("synced"))


@pytest.fixture(scope="module")
def settled(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housing(synced, tmp_path_factory.mktemp("house"), configure=configure) as one:
        yield one
        assert one.desk.stop() == 0


@pytest.fixture
def house(settled: House) -> Iterator[House]:
    """One frontdesk for all who only ask."""
    assert settled.desk
    yield settled
    settled.unharmed()


@pytest.fixture
def alone(synced: Path, tmp_path: Path) -> Iterator[House]:
    """A house that is not shared, and where nothing runs yet."""
    with housing(synced, tmp_path) as one:
        yield one
        one.unharmed()


def come_in(house: House, name: str) -> tuple[str, str]:
    """Somebody new in a channel of `ROOMS`."""
    (room,) = [one for one in house.slack.channels.values() if one.name == name]
    ann = house.slack.add_user("ann")
    room.members.append(ann)
    return ann, room.id


def ours(house: House, room: str) -> list[Seen]:
    return [seen for seen in house.slack.visible(room) if seen.ours]


def answers(house: House, room: str, number: int = 1) -> list[Seen]:
    """All that stands there of the agent, once it is so many finished answers."""

    def found() -> list[Seen]:
        seen = ours(house, room)
        return seen if sum(BUTTON in one.text for one in seen) >= number else []

    answered: list[Seen] = house.slack.wait_for(found, 20)
    return answered


# --- where people ask


def test_a_direct_message_is_answered(house: House) -> None:
    ann = house.slack.add_user("ann")
    direct = house.slack.dm(ann)
    with house.talking.held():
        for text in ("My stay in Braga is over.", "It was nice there!", QUESTION):
            house.slack.say(ann, direct, text)
    (reply,) = answers(house, direct)
    house.settle()
    assert ours(house, direct) == [reply], "answered together, once"
    asked = next(call.said for call in reversed(house.model.calls) if "Braga" in call.said)
    assert asked.rindex("Braga") < asked.rindex("nice there") < asked.rindex(QUESTION)

    house.slack.say(ann, direct, "And can I change it after that?")
    assert len(answers(house, direct, 2)) == 2
    followed = next(call.said for call in reversed(house.model.calls) if "change it after that" in call.said)
    assert "14 days after check-out" in followed, "it knows what it said"
    house.slack.say(ann, direct, PETS, thread_ts=reply.thread_ts or reply.ts)
    assert "Pets allowed" in answers(house, direct, 3)[-1].text


def test_stop_ends_an_answer_and_its_session(house: House) -> None:
    slack = house.slack
    ann = slack.add_user("ann")
    direct = slack.dm(ann)
    with house.talking.held(pieces=4):
        ts = slack.say(ann, direct, QUESTION)
        draft = house.draft(direct, ts)
        slack.wait_for(lambda: slack.sessions.get((direct, ts), {}).get("status") == "processing")
        assert slack.sessions[direct, ts]["title"] == QUESTION
        assert slack.stop_session(ann, direct, ts) == [draft.ts]
        slack.wait_for(lambda: slack.sessions[direct, ts]["status"] == "active", 20)
    again = slack.say(ann, direct, PETS)
    house.final(direct, again, "Pets allowed", BUTTON)
    (stopped,) = slack.replies_to(direct, ts)
    assert stopped.streaming == "stopped_by_user"
    assert "to write a review" not in stopped.text


def test_a_mention_is_answered_with_its_source_and_followed(house: House) -> None:
    ann, room = house.room()
    bob = house.slack.add_user("bob")
    house.slack.channels[room].members.append(bob)
    chatter = house.slack.say(bob, room, "Lunch at noon?")
    with house.talking.held(pieces=4):
        ts = house.slack.say(ann, room, house.slack.mention(QUESTION))
        assert house.draft(room, ts).text.startswith("You have")
    reply = house.once(room, ts)
    assert reply.text.startswith("You have 14 days")
    assert "Reviews: writing, reading and removing them" in reply.text
    assert len(house.slack.changes(room, reply.ts)) >= 2, "it was seen being written"
    assert house.slack.replies_to(room, chatter) == [], "nobody asked the agent"

    house.slack.say(ann, room, PETS, thread_ts=ts)
    house.final(room, ts, "Pets allowed", BUTTON)
    house.slack.say(bob, room, "Is that so?", thread_ts=ts)
    house.settle()
    assert len(house.slack.replies_to(room, ts)) == 2, "bob did not ask the agent"


def test_a_channel_may_hear_every_question(house: House) -> None:
    ann, room = come_in(house, "every")
    ts = house.slack.say(ann, room, QUESTION)
    told = house.slack.say(ann, room, "Thanks everybody, see you tomorrow.")
    assert house.once(room, ts).text.startswith("You have 14 days")
    assert house.slack.replies_to(room, told) == []


def test_a_channel_may_hear_what_is_sure_only(house: House) -> None:
    ann, room = come_in(house, "sure")
    unsure = house.slack.say(ann, room, "What is the capital of Peru?")
    ts = house.slack.say(ann, room, QUESTION)
    assert house.once(room, ts).text.startswith("You have 14 days")
    assert house.slack.replies_to(room, unsure) == []


def test_a_channel_may_be_left_alone(house: House) -> None:
    ann, room = come_in(house, "off")
    ts = house.slack.say(ann, room, house.slack.mention(QUESTION))
    house.settle()
    assert house.slack.replies_to(room, ts) == []


def test_a_command_is_answered_privately_and_shared(house: House) -> None:
    ann, room = house.room()
    bob = house.slack.add_user("bob")
    house.slack.channels[room].members.append(bob)
    house.slack.slash(ann, room, "/support", QUESTION)
    (private,) = house.slack.wait_for(lambda: house.slack.ephemeral(ann, room), 20)
    assert private.text.startswith("You have 14 days")
    assert "Reviews: writing" in private.text
    assert (ours(house, room), house.slack.ephemeral(bob, room)) == ([], [])
    house.slack.click_ephemeral(ann, room, "frontdesk_share")
    house.slack.wait_for(lambda: ours(house, room) and not house.slack.ephemeral(ann, room), 20)
    (shared,) = ours(house, room)
    assert shared.text.startswith("You have 14 days")


def test_a_form_is_answered_where_the_app_is_no_member(house: House) -> None:
    slack = house.slack
    ann = slack.add_user("ann")
    elsewhere = slack.add_channel("elsewhere", [ann], private=True, bot_in=False)
    slack.slash(ann, elsewhere, "/support")
    view = slack.wait_for(lambda: [one for one in slack.views if one.user == ann])[0]
    slack.submit(ann, view.id, {"question": QUESTION})
    (private,) = slack.wait_for(lambda: slack.ephemeral(ann, elsewhere), 20)
    assert private.text.startswith("You have 14 days")


def test_a_shortcut_asks_about_a_message(house: House) -> None:
    ann, room = house.room()
    bob = house.slack.add_user("bob")
    house.slack.channels[room].members.append(bob)
    ts = house.slack.say(bob, room, QUESTION)
    house.slack.message_shortcut(ann, room, ts, "ask_about_message")
    assert house.once(room, ts).text.startswith("You have 14 days")


# --- files


def test_a_text_file_is_read_and_a_picture_is_not(house: House) -> None:
    ann = house.slack.add_user("ann")
    direct = house.slack.dm(ann)
    house.slack.share_file(ann, direct, "booking.txt", b"Booking 4711, check-out on Monday.", text=QUESTION)
    answers(house, direct)
    assert any("Booking 4711, check-out on Monday." in call.said for call in house.model.calls)

    bob = house.slack.add_user("bob")
    direct = house.slack.dm(bob)
    house.slack.share_file(bob, direct, "room.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "image/png", QUESTION)
    (reply,) = answers(house, direct)
    assert "14 days" in reply.text
    assert "I could not read room.png: pictures cannot be read here." in reply.text
    assert not any(call.images for call in house.model.calls)


# --- who reads along


def test_internal_documents_stay_inside(house: House) -> None:
    ann, team = come_in(house, "team")
    house.slack.say(ann, team, house.slack.mention(INTERNAL))
    answers(house, team)
    assert any("Duty manager" in call.said for call in house.model.calls)
    house.model.calls.clear()

    bob, partners = come_in(house, "partners")
    ts = house.slack.say(bob, partners, house.slack.mention(INTERNAL))
    house.slack.wait_for(lambda: any(BUTTON in one.text or TAKEN_OVER in one.text for one in ours(house, partners)), 20)
    house.settle()
    assert not any("goodwill" in seen.text or "INTERNAL" in seen.text for seen in house.slack.replies_to(partners, ts))
    assert not any("Duty manager" in call.said for call in house.model.calls)


# --- people


def test_feedback_is_kept_with_its_reason(house: House) -> None:
    ann, room, ts = house.ask()
    reply = house.once(room, ts)
    house.slack.click(ann, room, reply.ts, "frontdesk_feedback", f"unhelpful|slack:{house.slack.team.id}/{room}#{ts}")
    view = house.slack.wait_for(lambda: [one for one in house.slack.views if one.user == ann])[0]
    house.slack.submit(ann, view.id, {"reason": "I asked about hosts."})
    stored = house.data / "frontdesk.sqlite3"
    with closing(sqlite3.connect(f"file:{stored}?mode=ro", uri=True)) as database:
        kept = database.execute("select helpful, reason from feedback where author like ?", (f"%{ann}",)).fetchall()
    assert kept == [(0, "I asked about hosts.")]


def test_who_wants_a_person_gets_one(house: House) -> None:
    slack = house.slack
    ann, room, ts = house.ask()
    reply = house.once(room, ts)
    slack.click(ann, room, reply.ts, "frontdesk_person")
    house.final(room, ts, TAKEN_OVER)
    (post,) = house.told(f"({ann})")
    assert "the customer asked for one" in post.text
    tickets = json.loads(house.frontdesk("tickets", "--json"))["tickets"]
    (ticket,) = [one for one in tickets if one["customer"] == f"slack:{slack.team.id}/{ann}"]
    assert ticket["status"] == "open"

    # From here on it is between them, until the agent is asked again or the ticket is resolved.
    slack.channels[room].members.append(house.eve)
    slack.say(house.eve, room, "Hi, I am Eve. What is it about?", thread_ts=ts)
    before = house.once_more(room, ts)
    slack.say(ann, room, PETS, thread_ts=ts)
    assert house.once_more(room, ts) == before, "staff have spoken"
    slack.say(ann, room, slack.mention(PETS), thread_ts=ts)
    house.final(room, ts, "Pets allowed", BUTTON)
    house.frontdesk("tickets", "resolve", str(ticket["number"]))
    slack.say(ann, room, QUESTION, thread_ts=ts)
    slack.wait_for(lambda: len(slack.replies_to(room, ts)) == len(before) + 2, 20)


def test_admins_set_a_channel_and_nobody_else(house: House) -> None:
    slack = house.slack
    ann, room = house.room()
    boss = slack.add_user("boss", admin=True)
    slack.channels[room].members.append(boss)
    slack.slash(ann, room, "/support", "settings")
    (refusal,) = slack.wait_for(lambda: slack.ephemeral(ann, room))
    assert refusal.text.startswith("Only the workspace's admins")
    unheard = slack.say(ann, room, QUESTION)
    slack.slash(boss, room, "/support", "settings")
    view = slack.wait_for(lambda: [one for one in slack.views if one.user == boss])[0]
    slack.submit(boss, view.id, {"mode": "every-question"})
    (saved,) = slack.wait_for(lambda: slack.ephemeral(boss, room))
    assert saved.text.startswith("Saved.")
    ts = slack.say(ann, room, QUESTION)
    house.once(room, ts)
    assert slack.replies_to(room, unheard) == []


# --- ways to be reached


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_signed_events_over_http(alone: House) -> None:
    address, slack = free_address(), alone.slack
    alone.settings |= {"SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": slack.signing_secret}
    alone.settings |= {"FRONTDESK_SLACK_HTTP_ADDRESS": address}
    assert f"Slack: signed HTTP at {address}/slack/events" in alone.desk.out
    slack.request_url = f"http://{address}/slack/events"
    assert slack.verify_url()[0] == 200
    _, room, ts = alone.ask()
    alone.once(room, ts)
    assert alone.desk.stop() == 0


def test_two_workspaces_that_installed_it(alone: House) -> None:
    address, slack = free_address(), alone.slack
    slack.team.installed = False
    teams = [slack.team, slack.add_team("Second", installed=False)]
    alone.settings |= {"SLACK_BOT_TOKEN": "", "SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": slack.signing_secret}
    alone.settings |= {"SLACK_CLIENT_ID": slack.client_id, "SLACK_CLIENT_SECRET": slack.client_secret}
    alone.settings |= {"FRONTDESK_SLACK_HTTP_ADDRESS": address}
    assert alone.desk
    slack.request_url = f"http://{address}/slack/events"
    for team in teams:
        assert install(slack, int(address.rpartition(":")[2]), team) == 200
        person = slack.add_user("ann", team=team)
        direct = slack.dm(person, team)
        slack.say(person, direct, QUESTION)
        (reply,) = answers(alone, direct)
        assert reply.user == team.bot_user
    assert alone.desk.stop() == 0


# --- several processes


def test_a_worker_goes_on_where_another_process_died(alone: House, postgres_url: str) -> None:
    alone.keep_in(postgres_url)
    with ExitStack() as stack:
        assert alone.desk
        worker = stack.enter_context(running("worker", **alone.settings))
        worker.said("Working on what is in the queue.")
        worker.ready()
        with alone.talking.held(pieces=4):
            _, room, ts = alone.ask()
            alone.draft(room, ts)
            alone.kill()
        assert len(alone.final(room, ts)) == 1
        assert worker.stop() == 0


def test_two_processes_on_one_postgres_answer_each_question_once(alone: House, postgres_url: str) -> None:
    alone.keep_in(postgres_url)
    with running(**alone.settings) as two:
        assert alone.desk
        two.said("Slack: connected")
        for place in [alone.ask()[1:] for _ in range(6)]:
            assert len(alone.final(*place)) == 1
        assert (alone.desk.stop(), two.stop()) == (0, 0)
