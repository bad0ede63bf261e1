"""From bodies of events to what is heard, without a server."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Address, Deleted, Edited, Message, Stopped
from connectors.slack.events import LOOK_UP_FILE, Person, RoomFacts, files_of, hear

TEAM, BOT, ROOM, DIRECT, TS = "T1", "UBOT", "C1", "D1", "1700000000.000100"
ANN = Person("U1", "Ann", TEAM)
FACTS = RoomFacts(TEAM, BOT, "BBOT", ANN, names={"U2": "Ben"})
STAFF = replace(FACTS, staff=True)


def body(event: dict[str, Any], **more: Any) -> dict[str, Any]:
    authorization = {"enterprise_id": None, "team_id": TEAM, "user_id": BOT, "is_bot": True}
    return {
        "type": "event_callback",
        "team_id": TEAM,
        "authorizations": [authorization],
        "is_ext_shared_channel": False,
        "event": event,
    } | more


def said(text: str = "Hello", **more: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "user": "U1",
        "team": TEAM,
        "ts": TS,
        "text": text,
        "channel": ROOM,
        "channel_type": "channel",
        "event_ts": TS,
    } | more


def heard(event: dict[str, Any], facts: RoomFacts = FACTS, **more: Any) -> Message:
    found = hear(body(event, **more), facts)
    assert isinstance(found, Message)
    return found


def test_a_message_in_a_channel() -> None:
    found = heard(said("Hello <@U2>"))
    assert found.id == f"slack:T1/C1#{TS}"
    assert found.address == Address("slack", TEAM, ROOM, TS)
    assert found.sent_at == datetime(2023, 11, 14, 22, 13, 20, 100, UTC)
    assert (found.text, found.role, found.author, found.author_space) == ("Hello @Ben", "customer", "U1", "")
    assert (found.addressed, found.to_others, found.outsiders, found.joins) == (False, True, False, False)
    assert found.starts_thread


def test_a_mention_and_its_message_are_one() -> None:
    text = f"<@{BOT}> Where is it?"
    mention = said(text, type="app_mention")
    del mention["channel_type"]
    one, other = heard(mention), heard(said(text))
    assert one == other
    assert one.addressed
    assert one.text == "Where is it?"
    assert not heard(said(f"<@{BOT}> ask <@U2>")).to_others
    assert heard(said(f"<@{BOT}>")).text == ""


def test_a_mention_in_blocks_only() -> None:
    elements = [{"type": "user", "user_id": BOT}, {"type": "text", "text": " hi"}]
    rich = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}
    assert heard(said("", blocks=[rich])).addressed


def test_direct_messages_join_and_threads_do_not() -> None:
    top = heard(said(channel=DIRECT, channel_type="im"))
    assert (top.addressed, top.joins, top.address.thread) == (True, True, TS)
    reply = heard(said(channel=DIRECT, channel_type="im", thread_ts="1600000000.000001"))
    assert (reply.addressed, reply.joins, reply.address.thread) == (True, False, "1600000000.000001")
    unnamed = said(channel=DIRECT)
    del unnamed["channel_type"]
    assert heard(unnamed).joins
    assert heard(said(channel=DIRECT, channel_type="app_home")).joins
    assert not heard(said(channel_type="mpim")).addressed


def test_the_workspace_is_the_installed_one() -> None:
    shared = body(said(team="T9", user_team="T9"), team_id="T9", is_ext_shared_channel=True)
    found = hear(shared, replace(STAFF, author=replace(ANN, team="T9", stranger=True)))
    assert isinstance(found, Message)
    assert found.id == f"slack:T1/C1#{TS}"
    assert (found.author_space, found.person) == ("T9", "slack:T9/U1")
    assert (found.role, found.outsiders) == ("customer", True)
    without = body(said())
    without["authorizations"] = [{"user_id": BOT, "is_bot": True}]
    assert isinstance(hear(without, FACTS), Message)
    assert hear(body(said(), authorizations=[{"team_id": "T2"}]), FACTS) is None
    assert hear(body(said(), authorizations=[], team_id="T2"), FACTS) is None
    theirs = said(team="T9", user_team="T9")
    seen_from_here = body(theirs, authorizations=without["authorizations"], team_id="T9", context_team_id=TEAM)
    assert isinstance(hear(seen_from_here, FACTS), Message)


def test_a_bot_is_not_heard_even_if_the_event_does_not_say_so() -> None:
    assert hear(body(said()), replace(FACTS, author=replace(ANN, bot=True))) is None


def test_staff_in_a_channel_and_customer_in_a_direct_message() -> None:
    assert heard(said(), STAFF).role == "staff"
    assert heard(said(channel=DIRECT, channel_type="im"), STAFF).role == "customer"
    assert heard(said(), FACTS).role == "customer"


@pytest.mark.parametrize(
    ("author", "event"),
    [
        (None, {}),
        (replace(ANN, guest=True), {}),
        (replace(ANN, stranger=True), {}),
        (replace(ANN, team="T9"), {}),
        (ANN, {"user_team": "T9"}),
        (ANN, {"source_team": "T9"}),
        (ANN, {"user_profile": {"team": "T9"}}),
        (ANN, {"user_profile": {"team": TEAM, "is_restricted": True}}),
        (ANN, {"user_profile": {"team": TEAM, "is_ultra_restricted": True}}),
    ],
)
def test_nobody_from_outside_is_staff(author: Person | None, event: dict[str, Any]) -> None:
    found = heard(said(**event), replace(STAFF, author=author))
    assert found.role == "customer"
    assert found.outsiders == (author is not None)


def test_who_is_unknown_is_outside_unless_the_event_tells() -> None:
    unknown = replace(FACTS, author=None)
    assert not heard(said(), unknown).outsiders
    untold = said()
    del untold["team"]
    assert heard(untold, unknown).outsiders
    assert not heard(untold, FACTS).outsiders
    assert heard(said(), FACTS, is_ext_shared_channel=True).outsiders


@pytest.mark.parametrize(
    "event",
    [
        said(bot_id="B1"),
        said(bot_profile={"id": "B1"}),
        said(subtype="bot_message", user=None),
        said(user=BOT),
        said(user="USLACK"),
        said(user="USLACKBOT"),
        said(user=""),
        said(hidden=True),
        said(subtype="channel_join"),
        said(subtype="channel_topic"),
        said(subtype="assistant_app_thread"),
        said(subtype="reminder_add"),
        said(text=""),
        said(channel="../etc"),
        said(channel="C1/..."),
        said(ts="now"),
        said(ts="99999999999.000001"),
        said(type="reaction_added"),
    ],
)
def test_what_nobody_said_is_not_heard(event: dict[str, Any]) -> None:
    assert hear(body(event), STAFF) is None


@pytest.mark.parametrize("subtype", ["file_share", "thread_broadcast", "me_message"])
def test_what_people_say_in_other_ways(subtype: str) -> None:
    assert heard(said(subtype=subtype)).text == "Hello"


def test_ids_are_taken_as_they_come() -> None:
    team, room = "T_acme-1", "C_help"
    found = hear(body(said(channel=room), authorizations=[], team_id=team), replace(FACTS, team=team))
    assert isinstance(found, Message)
    assert found.id == f"slack:{team}/{room}#{TS}"


def test_a_message_of_few_fields() -> None:
    """As Slack delivers it at its leanest: no workspace, blocks, kind of channel or id of the event."""
    event = {"type": "message", "user": "U1", "ts": TS, "text": f"<@{BOT}> Hey", "channel": ROOM, "event_ts": TS}
    lean = {"team_id": TEAM, "event": event, "authorizations": [{"user_id": BOT, "is_bot": True}]}
    found = hear(lean, FACTS)
    assert isinstance(found, Message)
    assert (found.text, found.addressed, found.outsiders, found.address.thread) == ("Hey", True, False, TS)
    event |= {"ts": "1700000001.000200", "text": "Hi", "thread_ts": TS, "parent_user_id": "U1"}
    followed = hear(lean, FACTS)
    assert isinstance(followed, Message)
    assert (followed.text, followed.addressed, followed.address) == ("Hi", False, found.address)


# Changes.


def changed(new: dict[str, Any], old: dict[str, Any], **more: Any) -> dict[str, Any]:
    event = {
        "type": "message",
        "subtype": "message_changed",
        "hidden": True,
        "channel": ROOM,
        "channel_type": "channel",
        "ts": "1700000009.000200",
        "event_ts": "1700000009.000200",
        "message": new,
        "previous_message": old,
    }
    return body(event | more)


def test_an_edit() -> None:
    new = said("Better", thread_ts="1600000000.000001", edited={"user": "U1", "ts": "1700000005.000000"})
    found = hear(changed(new, said("Worse")), FACTS)
    assert found == Edited(
        f"slack:T1/C1#{TS}",
        Address("slack", TEAM, ROOM, "1600000000.000001"),
        "Better",
        datetime(2023, 11, 14, 22, 13, 25, tzinfo=UTC),
    )


def test_what_is_no_edit() -> None:
    unfurl = {"from_url": "https://example.com", "text": "A page", "title": "A page"}
    edited = {"user": "U1", "ts": "1700000005.000000"}
    assert hear(changed(said(attachments=[unfurl]), said()), FACTS) is None
    assert hear(changed(said(edited=edited), said()), FACTS) is None
    assert hear(changed(said("New", bot_id="BBOT", user=BOT), said("Old", bot_id="BBOT", user=BOT)), FACTS) is None
    assert hear(changed(said("New", reply_count=3), said("New")), FACTS) is None
    assert hear(changed(said("New", reply_count=3), {}), FACTS) is None
    assert isinstance(hear(changed(said("New", edited=edited), {}), FACTS), Edited)


def test_deletions() -> None:
    gone = Deleted(f"slack:T1/C1#{TS}", Address("slack", TEAM, ROOM, TS), datetime(2023, 11, 14, 22, 13, 29, 200, UTC))
    tombstone = {"type": "message", "subtype": "tombstone", "user": "USLACKBOT", "ts": TS, "hidden": True}
    assert hear(changed(tombstone, said()), FACTS) == gone
    deleted = changed({}, said(), subtype="message_deleted", deleted_ts=TS)
    assert hear(deleted, FACTS) == gone
    assert hear(changed({}, said(bot_id="BBOT"), subtype="message_deleted", deleted_ts=TS), FACTS) is None
    assert hear(changed(tombstone, said(user=BOT, bot_id="BBOT")), FACTS) is None
    without = changed({}, {}, subtype="message_deleted", deleted_ts=TS)
    assert hear(without, FACTS) == gone


def test_stop() -> None:
    event = {
        "type": "agent_session_stopped",
        "user": "U1",
        "channel": DIRECT,
        "thread_ts": TS,
        "streaming_message_ts": [],
        "event_ts": "1700000009.000200",
    }
    found = hear(body(event), FACTS)
    assert isinstance(found, Stopped)
    assert (found.address, found.author) == (Address("slack", TEAM, DIRECT, TS), "U1")
    assert hear(body(event | {"thread_ts": None}), FACTS) is None


# Files.


def test_files() -> None:
    link = "https://files.slack.com/files-pri/T1-F1/a.txt"
    plain = {"id": "F1", "name": "a.txt", "mimetype": "text/plain", "size": 7, "url_private": link}
    found = heard(said("", subtype="file_share", files=[plain])).attachments
    assert [(file.name, file.media_type, file.size, file.source, file.unread) for file in found] == [
        ("a.txt", "text/plain", 7, link, "")
    ]
    download = files_of({"files": [plain | {"url_private_download": link + "?download"}]})
    assert download[0].source.endswith("?download")
    for gone in ({"mode": "tombstone"}, {"mode": "hidden_by_limit"}, {"is_external": True}, {"mode": "external"}):
        (file,) = files_of({"files": [plain | gone]})
        assert file.source == ""
        assert file.unread
    (looked_up,) = files_of({"files": [{"id": "F2", "mode": "file_access", "file_access": "check_file_info"}]})
    assert looked_up.source == f"{LOOK_UP_FILE}F2"
    (odd,) = files_of({"files": [{"size": "big", "name": 3}, "nonsense"]})
    assert (odd.name, odd.size, bool(odd.unread)) == ("file", 0, True)
    assert len(files_of({"files": [plain] * 500})) == 20


# Whatever comes.

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([TS, ROOM, TEAM, BOT, "im"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ts", "user", "text", "blocks", "type", "team"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_BASES: tuple[Callable[[], dict[str, Any]], ...] = (
    lambda: body(said(files=[{"id": "F1"}])),
    lambda: changed(said("New"), said("Old")),
    lambda: changed({}, said(), subtype="message_deleted", deleted_ts=TS),
    lambda: body({"type": "agent_session_stopped", "channel": DIRECT, "thread_ts": TS, "user": "U1"}),
)
_MORE_KEYS = ["message", "previous_message", "deleted_ts", "files", "blocks", "attachments", "edited", "user_profile"]
_KEYS = ["type", "subtype", "user", "team", "ts", "text", "channel", "channel_type", "event_ts", "thread_ts", "hidden"]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(_BASES),
    st.dictionaries(st.sampled_from([*_KEYS, *_MORE_KEYS]), _values, max_size=4),
    st.dictionaries(st.sampled_from(["event", "authorizations", "team_id"]), _values, max_size=1),
)
def test_no_body_raises(base: Callable[[], dict[str, Any]], inner: dict[str, Any], outer: dict[str, Any]) -> None:
    made = copy.deepcopy(base())
    made["event"].update(inner)
    made.update(outer)
    for facts in (FACTS, STAFF, RoomFacts(TEAM)):
        found = hear(made, facts)
        if isinstance(found, Message):
            assert found.address.space == TEAM
            assert found.id.startswith(f"slack:T1/{found.address.room}#")
