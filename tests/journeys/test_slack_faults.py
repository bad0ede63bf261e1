"""What people see in Slack when something goes wrong: one test for each fault, against a real `frontdesk run`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.house import BUTTON, PERSON, PETS, QUESTION, TAKEN_OVER, House, housing, sync
from tests.servers.slack import Seen
from tests.servers.slack.state import Message

AT_ONCE = 8
"""Messages of one person in one conversation in half a minute that are answered."""


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sync(tmp_path_factory.mktemp("synced"))


@pytest.fixture(scope="module")
def shared(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    limit = {"FRONTDESK_CONVERSATION_MESSAGES_PER_HALF_MINUTE": str(AT_ONCE)}
    with housing(synced, tmp_path_factory.mktemp("shared"), limit) as one:
        yield one
        assert one.desk.stop() == 0


@pytest.fixture(scope="module")
def apart(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housing(synced, tmp_path_factory.mktemp("apart")) as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def unheard(synced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str, str]]:
    """Somebody asked, but the socket is silent. It takes a while until that is noticed; other tests go on meanwhile."""
    with housing(synced, tmp_path_factory.mktemp("unheard")) as one:
        assert one.desk
        assert one.slack.silence() == 1
        yield one, *one.ask()[1:]


@pytest.fixture
def house(shared: House) -> Iterator[House]:
    """What no fault of these tests ends."""
    yield shared
    shared.unharmed()


@pytest.fixture
def mortal(apart: House) -> Iterator[House]:
    """What may be killed, and goes on with the same data."""
    yield apart
    apart.unharmed()


# --- Slack's answers


def test_fault_035_a_limited_post_comes_late_and_once(house: House) -> None:
    assert house.desk
    house.slack.fail("chat.postMessage", "429", retry_after=2)
    ann, room, ts = house.ask(PERSON)
    began = time.monotonic()
    assert TAKEN_OVER in house.once(room, ts, TAKEN_OVER).text
    posted = [call for call in house.slack.called("chat.postMessage") if call.args["channel"] == room]
    assert [call.error for call in posted] == ["ratelimited", ""]
    assert posted[1].at - posted[0].at >= 2
    assert posted[1].at - began < 10
    house.told(f"({ann})")


@pytest.mark.parametrize("kind", ["500_after", "500_before", "reset_after"])
@pytest.mark.parametrize("streamed", [True, False])
def test_fault_036_a_post_that_may_be_there_is_looked_for(house: House, kind: str, streamed: bool) -> None:
    assert house.desk
    method = "chat.startStream" if streamed else "chat.postMessage"
    house.slack.fail(method, kind)
    ann, room, ts = house.ask(QUESTION if streamed else PERSON)
    if not streamed:
        house.told(f"({ann})")
    house.slack.wait_for(lambda: [one for one in house.slack.called("conversations.replies") if one.args["ts"] == ts])
    house.once(room, ts, BUTTON if streamed else TAKEN_OVER)
    made = [call.method for call in house.slack.calls if call.args.get("channel") == room]
    shown = [name for name in made if name in (method, "chat.postMessage", "conversations.replies")]
    assert shown[:2] == [method, "conversations.replies"]
    assert len(shown) == (2 if kind.endswith("after") else 3), "posted again only when it was not there"


# --- what Slack delivers


def test_fault_037_an_event_that_comes_again_is_one_question(house: House) -> None:
    assert house.desk
    house.slack.double_deliveries = 1.0
    _, room, ts = house.ask()
    house.final(room, ts)
    sent = [one for one in house.slack.sent("events_api") if one.event.get("ts") == ts]
    for delivery in sent:
        house.slack.redeliver(delivery)
    house.once(room, ts)
    assert [len(one.sent_at) for one in sent] == [3, 3], "a mention and a message, each three times"


def test_fault_038_what_comes_out_of_order_is_read_in_order(house: House) -> None:
    assert house.desk
    ann = house.slack.add_user("ann")
    direct = house.slack.dm(ann)
    house.slack.out_of_order = True
    with house.talking.held():
        said = [house.slack.say(ann, direct, text) for text in ("My stay in Porto is over since Monday.", QUESTION)]
        heard = [one for one in house.slack.sent("message") if one.event["ts"] in said]
        house.slack.wait_for(lambda: all(one.acked_at for one in heard))
        assert heard[0].sent_at[0] > heard[1].sent_at[0], "the second came first"
        house.slack.out_of_order = False
    house.slack.wait_for(lambda: [seen for seen in house.slack.visible(direct) if BUTTON in seen.text], 20)
    house.settle()
    assert len([seen for seen in house.slack.visible(direct) if seen.ours]) == 1
    told = next(call.said for call in reversed(house.model.calls) if "Porto" in call.said and QUESTION in call.said)
    assert told.rindex("Porto") < told.rindex(QUESTION)


def test_fault_039_a_mention_and_its_message_are_one_question(house: House) -> None:
    _, room, ts = house.ask()
    house.once(room, ts)
    heard = [one for one in house.slack.sent("events_api") if one.event.get("ts") == ts]
    assert {one.event["type"] for one in heard} == {"app_mention", "message"}
    assert all(one.acked_at for one in heard)


def test_fault_040_a_short_disconnect_is_not_seen(house: House) -> None:
    assert house.desk
    for leave in (house.slack.cut, house.slack.disconnect):
        leave()
        _, room, ts = house.ask()
        assert house.once(room, ts).text.startswith("You have 14 days")
    ready = time.monotonic() + 5
    while house.desk.get("/readyz")[0] != 200:
        assert time.monotonic() < ready
        time.sleep(0.05)


def test_fault_041_a_silent_socket_is_left_and_the_gap_answered(unheard: tuple[House, str, str]) -> None:
    silent, room, ts = unheard
    slack = silent.slack
    slack.wait_for(lambda: len(slack.connections) == 1 and not slack.connections[0].silent, 30)
    slack.redeliver_unacknowledged()
    assert silent.once(room, ts).text.startswith("You have 14 days")
    silent.unharmed()


def test_fault_042_what_was_asked_while_it_was_down_goes_to_staff(mortal: House) -> None:
    mortal.kill()
    ann, room = mortal.room()
    mortal.slack.ago = 3600
    old = mortal.slack.say(ann, room, mortal.slack.mention(f"{QUESTION} (old)"))
    mortal.slack.ago = 0
    assert mortal.desk
    mortal.slack.redeliver_unacknowledged()
    reply = mortal.once(room, old, TAKEN_OVER)
    assert "this reached me late" in reply.text
    (post,) = mortal.told("(old)")
    assert "something went wrong" in post.text


def test_fault_043_a_revoked_token_stops_it_and_is_told(mortal: House) -> None:
    desk = mortal.desk
    _, room, ts = mortal.ask()
    mortal.once(room, ts)
    mortal.slack.revoke_tokens()
    try:
        ends = time.monotonic() + 20
        while (told := desk.get("/readyz"))[0] == 200:
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert "SLACK_BOT_TOKEN" in told[1]["parts"]["slack"]
        mortal.slack.wait_for(lambda: not mortal.slack.unacknowledged)
        before = len(mortal.slack.calls)
        ann, room = mortal.room()
        unheard = mortal.slack.say(ann, room, mortal.slack.mention(QUESTION))
        mortal.slack.wait_for(
            lambda: all(one.acked_at for one in mortal.slack.sent("message") if one.event["ts"] == unheard)
        )
        assert desk.stop() == 0
        tried = [call.error for call in mortal.slack.calls[before:] if call.method.startswith("chat.")]
        assert len(tried) <= 4
        assert set(tried) <= {"token_revoked"}
        assert mortal.slack.bot_token not in desk.out + desk.errors
    finally:
        mortal.slack.team.refused = ""


def test_fault_044_a_missing_scope_is_named_at_the_start(house: House) -> None:
    assert "the app has no scope mpim:read" in house.desk.errors
    assert "the app has no scope chat:write" not in house.desk.errors
    _, room, ts = house.ask()
    house.once(room, ts)


# --- places that are gone


def test_fault_045_nothing_is_posted_where_it_was_removed(house: House) -> None:
    _in_a_channel_that_is_gone(house, "not_in_channel", house.slack.remove_bot)


def test_fault_046_nothing_is_posted_in_an_archived_channel(house: House) -> None:
    _in_a_channel_that_is_gone(house, "is_archived", house.slack.archive)


def _in_a_channel_that_is_gone(house: House, error: str, close: Callable[[str], None]) -> None:
    calls = len(house.model.calls)
    with house.talking.held():
        _, room, ts = house.ask(f"{QUESTION} ({error})")
        house.slack.wait_for(lambda: len(house.model.calls) > calls)
        close(room)
    (post,) = house.told(f"({error})")
    assert f"Slack did not let us show a reply: {error}." in post.text
    house.settle()
    assert house.slack.replies_to(room, ts) == []
    assert 1 <= sum(one.error == error for one in house.slack.calls if one.method.startswith("chat.")) <= 3


def test_fault_047_staff_hear_of_who_takes_no_direct_messages(house: House) -> None:
    assert house.desk
    ann = house.slack.add_user("ann")
    direct = house.slack.dm(ann)
    house.slack.no_streams[direct] = "messages_tab_disabled"
    house.slack.no_posts[direct] = "messages_tab_disabled"
    house.slack.say(ann, direct, f"{QUESTION} (closed)")
    (post,) = house.told("(closed)")
    assert f"({ann})" in post.text
    assert [seen for seen in house.slack.visible(direct) if seen.ours] == []


# --- what people change


def test_fault_048_a_question_deleted_while_it_is_answered(house: House) -> None:
    with house.talking.held(pieces=4):
        _, room, ts = house.ask()
        house.draft(room, ts)
        house.slack.delete(room, ts)
        house.slack.wait_for(lambda: not house.slack.replies_to(room, ts))
    house.settle()
    assert house.slack.replies_to(room, ts) == []


@pytest.mark.parametrize("begun", [True, False])
def test_fault_049_the_newest_text_is_answered(house: House, begun: bool) -> None:
    with house.talking.held(pieces=4 if begun else 0):
        _, room, ts = house.ask()
        if begun:
            house.draft(room, ts)
        house.slack.edit(room, ts, house.slack.mention(PETS))
        edited = [one for one in house.slack.sent("message") if one.event.get("subtype") == "message_changed"]
        house.slack.wait_for(lambda: all(one.acked_at for one in edited))
    reply = house.once(room, ts)
    assert "Pets allowed" in reply.text
    assert "14 days" not in reply.text


def test_fault_050_an_answer_is_updated_when_its_question_is_edited(house: House) -> None:
    _, room, ts = house.ask()
    first = house.once(room, ts)
    house.slack.edit(room, ts, house.slack.mention(PETS))
    house.final(room, ts, "Pets allowed", BUTTON)
    changes = house.slack.changes(room, first.ts)
    again = house.once(room, ts)
    assert again.ts == first.ts
    assert "14 days" not in again.text
    assert house.slack.changes(room, first.ts) == changes, "and is left alone"


def test_who_forgot_the_mention_may_add_it(house: House) -> None:
    assert house.desk
    ann, room = house.room()
    ts = house.slack.say(ann, room, QUESTION)
    house.settle()
    assert house.slack.replies_to(room, ts) == []
    house.slack.edit(room, ts, house.slack.mention(PETS))
    reply = house.once(room, ts)
    assert "Pets allowed" in reply.text


def test_fault_051_nothing_is_left_of_the_answer_to_a_deleted_question(house: House) -> None:
    _, room, ts = house.ask()
    house.once(room, ts)
    house.slack.delete(room, ts)
    house.slack.wait_for(lambda: not house.slack.replies_to(room, ts))


def test_fault_052_a_reply_that_was_deleted_is_not_posted_again(house: House) -> None:
    with house.talking.held(pieces=4):
        _, room, ts = house.ask()
        house.slack.delete(room, house.draft(room, ts).ts)
    house.settle()
    assert house.slack.replies_to(room, ts) == [], "deleted while it was written"
    _, room, ts = house.ask()
    house.slack.delete(room, house.once(room, ts).ts)
    house.slack.edit(room, ts, house.slack.mention(PETS))
    house.settle()
    assert house.slack.replies_to(room, ts) == [], "deleted when it was there"


# --- what is shown


def test_fault_053_a_long_answer_is_split_whole(house: House) -> None:
    _, room, ts = house.ask(f"{QUESTION} Tell me everything.")
    replies = house.final(room, ts)
    assert len(replies) > 1
    assert [BUTTON in seen.text for seen in replies] == [False] * (len(replies) - 1) + [True]
    text = "\n".join(seen.text for seen in replies)
    assert all(text.count(f"\n{number}. You have") + text.startswith(f"{number}. You") == 1 for number in range(260))
    assert "```\nfrom the first line\nto the last line\n```" in text
    assert all(seen.text.count("```") % 2 == 0 for seen in replies)


def test_fault_054_an_answer_whose_blocks_are_refused_is_text(house: House) -> None:
    assert house.desk
    ann, room = house.room()
    house.slack.no_blocks.add(room)
    ts = house.slack.say(ann, room, house.slack.mention(QUESTION))
    reply = house.once(room, ts, "Reviews: writing")
    assert reply.blocks == []
    assert reply.text.startswith("You have 14 days")


# --- who writes


def test_fault_055_other_bots_are_not_answered(house: House) -> None:
    _, room, ts = house.ask()
    answered = house.once(room, ts)
    robot = house.slack.add_user("robot", bot=True)
    house.slack.channels[room].members.append(robot)
    said = [
        house.slack.bot_says(robot, room, house.slack.mention(QUESTION)),
        house.slack.bot_says(robot, room, house.slack.mention(QUESTION), legacy=True),
        house.slack.bot_says(robot, room, QUESTION, thread_ts=ts),
    ]
    house.settle()
    assert [house.slack.replies_to(room, one) for one in said] == [[], [], []]
    assert house.slack.replies_to(room, ts) == [answered]


def test_fault_056_who_floods_is_told_once_to_slow_down(house: House) -> None:
    ann, room, ts = house.ask()
    house.final(room, ts)
    for number in range(3 * AT_ONCE):
        house.slack.say(ann, room, f"{QUESTION} {number}", thread_ts=ts)
    house.final(room, ts, "a lot at once")
    house.settle()
    replies = house.slack.replies_to(room, ts)
    assert sum("a lot at once" in seen.text for seen in replies) == 1
    assert len(replies) <= AT_ONCE + 1


# --- buttons


def test_fault_057_a_button_that_is_pressed_twice_counts_once(house: House) -> None:
    bob = house.slack.add_user("bob")
    ann, room, ts = house.ask(f"{QUESTION} (pressed)")
    reply = house.once(room, ts)
    house.slack.channels[room].members.append(bob)

    def press(*users: str) -> None:
        clicks = [house.slack.click(user, room, reply.ts, "frontdesk_person") for user in users]
        assert all(click.settled.wait(10) for click in clicks)

    def handed() -> list[Seen]:
        return [seen for seen in house.slack.replies_to(room, ts) if TAKEN_OVER in seen.text]

    tickets = len([seen for seen in house.slack.visible(house.staff) if seen.ours])
    press(ann, ann)
    house.told("would like to talk to a person")
    house.settle()
    assert len(handed()) == 1
    press(bob)
    (note,) = house.slack.wait_for(lambda: house.slack.ephemeral(bob, room))
    assert "Somebody else asked this" in note.text
    house.settle()
    assert len(handed()) == 1
    posts = [seen for seen in house.slack.visible(house.staff) if seen.ours][tickets:]
    assert len(posts) == 1
    assert f"Ann ({ann})" in posts[0].text


def test_fault_057_a_private_answer_is_shared_once(house: House) -> None:
    assert house.desk
    ann, room = house.room()
    house.slack.slash(ann, room, "/support", QUESTION)
    house.slack.wait_for(lambda: house.slack.ephemeral(ann, room), 20)
    first = house.slack.click_ephemeral(ann, room, "frontdesk_share")
    second = house.slack.click_ephemeral(ann, room, "frontdesk_share")
    assert first.settled.wait(10)
    assert second.settled.wait(10)
    house.slack.wait_for(lambda: [seen for seen in house.slack.visible(room) if seen.ours])
    house.settle()
    (shown,) = [seen for seen in house.slack.visible(room) if seen.ours]
    assert "14 days" in shown.text


def test_fault_058_an_old_button_has_expired(house: House) -> None:
    assert house.desk
    ann, room = house.room()
    slack = house.slack
    button = {"type": "button", "action_id": "frontdesk_of_long_ago", "value": "1"}
    button["text"] = {"type": "plain_text", "text": "Press"}  # type: ignore[assignment]
    old = Message(slack.now_ts(), slack.bot_user, "Press", slack.team.id, bot_id=slack.team.bot_id)
    old.blocks = [{"type": "actions", "block_id": "b1", "elements": [button]}]
    slack.post(slack.channels[room], old, announce=False)
    slack.click(ann, room, old.ts, "frontdesk_of_long_ago")
    (note,) = slack.wait_for(lambda: slack.ephemeral(ann, room))
    assert note.text == "This button has expired."


# --- strangers


def test_fault_059_an_unknown_workspace_is_not_answered(house: House) -> None:
    assert house.desk
    other = house.slack.add_team("Other")
    zoe = house.slack.add_user("zoe", team=other)
    calls = len(house.model.calls)
    direct = house.slack.dm(zoe, other)
    house.slack.say(zoe, direct, QUESTION)
    heard = house.slack.sent("message")[-1]
    house.slack.wait_for(lambda: heard.acked_at)
    house.settle()
    assert [seen for seen in house.slack.visible(direct) if seen.ours] == []
    assert len(house.model.calls) == calls + 1


@pytest.mark.parametrize("kind", ["guest", "of another company"])
def test_fault_060_outsiders_are_customers_and_never_staff(house: House, kind: str) -> None:
    slack = house.slack
    home = None if kind == "guest" else slack.add_foreign_team()
    gus = slack.add_user("gus", guest=kind == "guest", team=home)
    slack.channels[house.staff].members.append(gus)
    slack.channels[house.staff].shared = kind != "guest"
    try:
        ann, room, ts = house.ask()
        slack.channels[room].members.append(gus)
        slack.channels[room].shared = kind != "guest"
        house.once(room, ts)
        # Where one of the staff has spoken, the agent is quiet.
        slack.say(gus, room, "I take this one.", thread_ts=ts)
        slack.say(ann, room, PETS, thread_ts=ts)
        house.final(room, ts, "Pets allowed")
        asked = slack.say(gus, room, slack.mention(QUESTION))
        house.once(room, asked)
    finally:
        slack.channels[house.staff].members.remove(gus)
        slack.channels[house.staff].shared = False


@pytest.mark.parametrize("pieces", [0, 4])
def test_fault_098_the_agent_stops_when_staff_take_over(house: House, pieces: int) -> None:
    calls = len(house.model.calls)
    with house.talking.held(pieces):
        ann, room, ts = house.ask()
        house.slack.channels[room].members.append(house.eve)
        house.slack.wait_for(lambda: len(house.model.calls) > calls)
        if pieces:
            house.draft(room, ts)
        house.slack.say(house.eve, room, "I take this one.", thread_ts=ts)
        house.slack.wait_for(lambda: not house.slack.replies_to(room, ts) and not house.slack.unacknowledged)
    house.settle()
    assert house.slack.replies_to(room, ts) == []
    house.slack.say(ann, room, house.slack.mention(PETS), thread_ts=ts)
    assert "14 days" not in house.once(room, ts, "Pets allowed").text


# --- the process


def test_fault_070_what_is_being_written_when_it_is_stopped_is_finished(mortal: House) -> None:
    with mortal.talking.held(pieces=4):
        _, room, ts = mortal.ask()
        mortal.draft(room, ts)
        mortal.desk.process.terminate()
        mortal.desk.said("Stopping")
        status, told = mortal.desk.get("/readyz")
        assert (status, told["parts"]["process"]) == (503, "is stopping")
    began = time.monotonic()
    stopped = mortal.running
    assert stopped is not None
    assert stopped.ended() == 0
    assert time.monotonic() - began < 20
    (reply,) = mortal.final(room, ts)
    assert reply.text.startswith("You have 14 days")


def test_fault_071_a_killed_process_answers_once_when_it_runs_again(mortal: House) -> None:
    with mortal.talking.held(pieces=4):
        _, room, ts = mortal.ask()
        mortal.draft(room, ts)
        mortal.kill()
    assert mortal.desk
    assert mortal.once(room, ts).text.startswith("You have 14 days")


def test_fault_072_what_was_posted_and_not_kept_is_not_posted_again(mortal: House) -> None:
    mortal.slack.victim = mortal.desk
    _, room, ts = mortal.ask()
    mortal.slack.wait_for(lambda: mortal.slack.victim is None, 20)
    mortal.kill()
    (posted,) = mortal.slack.replies_to(room, ts)
    assert mortal.desk
    mortal.slack.redeliver_unacknowledged()
    reply = mortal.once(room, ts)
    assert reply.ts == posted.ts
    assert reply.text.startswith("You have 14 days")


def test_fault_078_when_too_many_wait_it_says_so_at_once(synced: Path, tmp_path: Path) -> None:
    limits = {"FRONTDESK_TURNS_AT_ONCE": "1", "FRONTDESK_QUEUE_LIMIT": "2"}
    with housing(synced, tmp_path, limits) as busy:
        slack = busy.slack

        def turned_away() -> list[int]:
            found = [slack.replies_to(*place) for place in asked]
            return [
                number for number, replies in enumerate(found) if any("Very many people" in one.text for one in replies)
            ]

        with busy.talking.held():
            asked = [busy.ask(f"{QUESTION} (0)")[1:]]
            slack.wait_for(lambda: busy.model.calls)
            asked += [busy.ask(f"{QUESTION} ({number})")[1:] for number in range(1, 6)]
            slack.wait_for(lambda: len(turned_away()) >= 3, 5)
            refused = turned_away()
            assert 0 not in refused, "it was there before"
            for number in refused:
                busy.told(f"({number})")
        for place in asked:
            (reply,) = busy.final(*place, "")
            busy.final(*place, TAKEN_OVER if "Very many people" in reply.text else BUTTON)
            assert len(slack.replies_to(*place)) == 1
        busy.unharmed()
        assert busy.desk.stop() == 0
