"""Whether something that is said is for the agent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.messages import Address, Message
from agent.rooms import Answering, Glance, Room, may_concern, verdict

FORUM = Address("discord", "1", "2", "1473118766652199044")
POST = Message(
    "discord:1/2#01473118766652199044",
    FORUM,
    "5",
    "customer",
    "My kettle",
    datetime.now(UTC),
    addressed=False,
    asks=True,
)


@pytest.mark.parametrize(
    ("answering", "asks", "expected"),
    [
        ("every-question", True, "answer"),
        ("only-when-sure", True, "answer"),
        ("every-question", False, "drop"),
        ("mention", True, "drop"),
        ("off", True, "drop"),
    ],
)
def test_what_is_posted_where_questions_are_asked_is_one(answering: Answering, asks: bool, expected: str) -> None:
    post, room = replace(POST, asks=asks), Room(answering)
    assert post.starts_thread
    assert may_concern(post, room) is (answering in ("every-question", "only-when-sure"))
    assert verdict(post, room, None) == expected


def test_a_follow_up_in_a_closed_conversation_is_answered() -> None:
    follow_up = replace(POST, id="discord:1/2#01473118766652199099", asks=False)
    known = Glance(FORUM, "closed", "discord:1/5", frozenset({"5"}), "frontdesk", "agent")
    assert not follow_up.starts_thread
    assert verdict(follow_up, Room(), known) == "answer"
    assert verdict(replace(follow_up, author="6"), Room(), known) == "drop"
    assert verdict(follow_up, Room(), replace(known, mode="staff")) == "keep"
    # Staff spoke last, and gave it back.
    assert verdict(follow_up, Room(), replace(known, last_author="9", last_role="staff")) == "answer"
    assert verdict(follow_up, Room(), replace(known, last_author="6", last_role="customer")) == "drop"
