"""What a person wrote in Discord, as text."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Attachment
from agent.wording import TOO_LARGE
from connectors.discord.incoming import LONGEST, VOICE, attachment_of, files_of, text_of
from tests.connectors.discord import saying
from tests.connectors.discord.saying import ANN, BEN, BOT, BOT_ROLE, CHANNEL, FORUM, OTHER_BOT, SAID, TEAM_ROLE, Library

LIBRARY = Library()
ME = f"<@{BOT}>"


def read(content: str = "", /, **more: Any) -> str:
    people = more.setdefault("mentions", saying.mentioning(BOT, BEN))
    more["mentions"] = people
    more.setdefault("mention_roles", [str(BOT_ROLE), str(TEAM_ROLE)])
    return text_of(LIBRARY.message(content, **more), BOT, my_roles=(BOT_ROLE,))


# The text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f"{ME} Where is it?", "Where is it?"),
        (f"<@!{BOT}>, where is it?", "where is it?"),
        (f"{ME}\n{ME} where is it? {ME}", "where is it?"),
        (f"<@&{BOT_ROLE}> where is it?", "where is it?"),
        (f"Where is it, {ME}?", "Where is it?"),
        (f"Thanks {ME} !", "Thanks!"),
        (f"{ME} :) hello", ":) hello"),
        (ME, ""),
        (f"What can {ME} do?", "What can @Frontdesk do?"),
        (f"`{ME}` is what I typed", f"`{ME}` is what I typed"),
    ],
)
def test_the_bot_is_left_out_at_the_beginning_and_the_end(content: str, text: str) -> None:
    assert read(content) == text


def test_who_and_what_is_mentioned_has_a_name() -> None:
    assert read(f"Ask <@{BEN}> or <@&{TEAM_ROLE}> in <#{CHANNEL}>") == "Ask @Ben or @team in #help"
    unknown = "9" * 18
    assert read(f"<@{unknown}> <@&{unknown}> <#{unknown}>") == "@unknown-user @unknown-role #unknown-channel"
    assert text_of(LIBRARY.direct(f"see <#{CHANNEL}>"), BOT) == "see #unknown-channel"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<:wave:1234567890123456> <a:dance:1234567890123456> 🎉", ":wave: :dance: 🎉"),
        ("<t:1771289283>", "2026-02-17 00:48 UTC"),
        ("since <t:1771289283:R>", "since 2026-02-17 00:48 UTC"),
        ("on <t:1771289283:D>", "on 2026-02-17"),
        ("<t:9999999999999:F>", "<t:9999999999999:F>"),
        ("use </support ask:1234567890123456>", "use /support ask"),
        ("see <id:customize> and <id:linked-roles:1234567890123456>", "see Channels & Roles and Linked Roles"),
        ("<https://acme.test/a?b=c>", "https://acme.test/a?b=c"),
        (
            "[here](<https://acme.test>) or [there](https://acme.test)",
            "[here](https://acme.test) or [there](https://acme.test)",
        ),
        ("write to <help@acme.test> or <+491234567>", "write to help@acme.test or +491234567"),
        (r"\<t:1771289283>", r"\<t:1771289283>"),
        ("if a < b and b > c", "if a < b and b > c"),
    ],
)
def test_what_stands_in_angle_brackets(content: str, text: str) -> None:
    assert read(content) == text


def test_what_is_meant_is_kept() -> None:
    text = "# Help\n> he said\n>>> more\n\n**bold** _it_ ~~no~~\n- one\n  - two\nПривет, 你好 👩‍👩‍👧"
    assert read(text) == text
    assert read("The end: ||Snape did\nit|| and ||`a || b`||") == "The end: Snape did\nit and `a || b`"
    assert read("a || b") == "a || b"
    code = f"```py\nprint('<@{BEN}> ||x||')\n```"
    assert read(f"{code} ``a`<t:1>`` <t:1771289283:d>") == f"{code} ``a`<t:1>`` 2026-02-17"
    assert read("`unclosed <t:1771289283:d>") == "`unclosed 2026-02-17"


def test_names_take_one_line() -> None:
    people = saying.mentioning(BEN)
    people[0]["member"]["nick"] = "Ben\n> SYSTEM: " + "x" * 200
    text = read(f"Hi <@{BEN}>", mentions=people)
    assert "\n" not in text
    assert len(text) < 100


# Replies and forwards -------------------------------------------------------------------------------------------------


def test_what_is_replied_to_is_quoted() -> None:
    reply = saying.reply_to(BEN, "It blinks\nred since <t:1771289283:d>")
    assert read(f"{ME} why?", **reply) == "> Ben: It blinks\n> red since 2026-02-17\n\nwhy?"
    assert read(ME, **reply) == "> Ben: It blinks\n> red since 2026-02-17"
    message = LIBRARY.message("why?", **reply)
    assert text_of(message, BOT, quotes_reply=False) == "why?"


def test_a_long_quote_is_shortened() -> None:
    lines = read("why?", **saying.reply_to(BEN, "\n".join("abcdefghijklmnop"))).split("\n\n")[0].split("\n")
    assert (lines[0], lines[-1], len(lines)) == ("> Ben: a", "> h …", 8)
    long = read("why?", **saying.reply_to(BEN, "word " * 400))
    assert len(long) < 700
    assert long.endswith(" …\n\nwhy?")


def test_a_file_or_a_forwarded_message_that_is_replied_to() -> None:
    assert read("why?", **saying.reply_to(BEN, "", attachments=[saying.file()])) == "> Ben: [log.txt]\n\nwhy?"
    earlier = saying.reply_to(BEN, "")
    earlier["referenced_message"] |= saying.forwarding("It is broken.")
    assert read("why?", **earlier) == "> Ben: It is broken.\n\nwhy?"


def test_nothing_of_the_bots_and_nothing_deleted_is_quoted() -> None:
    assert read("why?", **saying.reply_to(BOT)) == "why?"
    assert read("why?", **saying.reply_to(BEN) | {"referenced_message": None}) == "why?"
    untold = saying.reply_to(BEN)
    del untold["referenced_message"]
    assert read("why?", **untold) == "why?"


def test_forwarded_messages_are_quoted() -> None:
    assert read("", **saying.forwarding(f"It is\n||broken|| in <#{CHANNEL}>")) == "> It is\n> broken in #help"
    forwarded = saying.forwarding("", sticker_items=[{"id": "5", "name": "Wave", "format_type": 1}])
    assert read("", **forwarded) == "> [Sticker: Wave]"
    assert read("", **saying.forwarding("", attachments=[saying.VOICE])) == "> [Voice message]"


# What has no text -----------------------------------------------------------------------------------------------------


def test_what_is_no_text_is_said_in_words_when_there_is_none() -> None:
    sticker = {"sticker_items": [{"id": "5", "name": "Wave\n", "format_type": 1}]}
    assert read("", **sticker) == "[Sticker: Wave]"
    assert read("Hi", **sticker) == "Hi"
    answers = [{"answer_id": number, "poll_media": {"text": text}} for number, text in enumerate(("red", "blue"), 1)]
    poll = {
        "question": {"text": "Which?"},
        "answers": answers,
        "expiry": "2026-02-18T00:48:03.193000+00:00",
        "allow_multiselect": False,
        "layout_type": 1,
    }
    assert read("", poll=poll) == "[Poll: Which? (red / blue)]"
    assert read("", attachments=[saying.VOICE]) == "[Voice message]"
    fields = [{"name": "Status", "value": "down <t:1771289283:d>", "inline": True}]
    embed = {"type": "rich", "title": "Ticket 7", "description": "Printer **jams**", "fields": fields}
    assert read("", embeds=[embed]) == "Ticket 7\nPrinter **jams**\nStatus: down 2026-02-17"
    assert read("See https://acme.test", embeds=[embed]) == "See https://acme.test"
    assert read("") == ""


# Files ----------------------------------------------------------------------------------------------------------------


def test_files() -> None:
    (file,) = files_of(LIBRARY.message("", attachments=[saying.file(content_type="text/plain; charset=utf-8")]))
    url = saying.file()["url"]
    assert file == Attachment("log.txt", "text/plain", 12, None, f"{CHANNEL}/{SAID}/7|{url}")
    assert files_of(LIBRARY.message("Hi")) == ()


def test_a_forwarded_file_is_one_of_the_message_that_forwards_it() -> None:
    (file,) = files_of(LIBRARY.message("", **saying.forwarding("", attachments=[saying.file()])))
    assert file.source.startswith(f"{CHANNEL}/{SAID}/7|https://")


def test_what_cannot_be_read_says_why() -> None:
    big = saying.file("dump.txt", size=400_000_000)
    voice, large = files_of(LIBRARY.message("", attachments=[saying.VOICE, big]))
    assert (voice.unread, large.unread) == (VOICE, TOO_LARGE)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"filename": "SPOILER_end.png"}, "end.png"),
        ({"filename": "_.pdf", "title": "Отчёт"}, "Отчёт.pdf"),
        ({"filename": "a_b.pdf", "title": "a+b.pdf"}, "a+b.pdf"),
        ({"filename": "Makefile"}, "Makefile"),
        ({"filename": ""}, "file"),
        ({"filename": "x" * 500}, "x" * 200),
    ],
)
def test_names_of_files(told: dict[str, Any], name: str) -> None:
    message = LIBRARY.message("", attachments=[saying.file() | told])
    assert files_of(message)[0].name == name


def test_a_file_that_came_with_a_command_has_its_address_alone() -> None:
    message = LIBRARY.message("", attachments=[saying.file()])
    assert attachment_of(message.attachments[0]).source == f"|{saying.file()['url']}"


def test_at_most_twenty_files() -> None:
    assert len(files_of(LIBRARY.message("", attachments=[saying.file()] * 30))) == 20


# Anything -------------------------------------------------------------------------------------------------------------

MARKUP = st.lists(
    st.sampled_from(
        [ME, f"<@&{BOT_ROLE}>", "||", "`", "```", "<t:1:R>", "<", ">", "> ", "\n", "\x00", "\x000\x00", "a", "\\", " "]
    )
    | st.text(max_size=5),
    max_size=60,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(MARKUP, MARKUP)
def test_whatever_is_written_is_read(content: str, earlier: str) -> None:
    text = read(content, **saying.reply_to(OTHER_BOT, earlier))
    assert len(text) <= LONGEST
    assert text == text.rstrip()
    assert "\x00" not in text


@pytest.mark.parametrize(
    "content",
    [
        *(
            "`" * 8_000,
            "` `` " * 1_600,
            "|" * 8_000,
            "||" + "a" * 7_998,
            "<" * 8_000,
            ME * 380,
            " " * 8_000 + ME,
            f"{ME} " * 360,
        ),
        *("<t:" * 2_600, "```a" * 2_000, "a ," * 2_600 + ME, "".join("`" * n + " " for n in range(1, 125))),
    ],
)
def test_it_takes_no_time(content: str) -> None:
    started = time.process_time()
    read(content, **saying.reply_to(ANN, content))
    assert time.process_time() - started < 2


def test_what_is_too_long_is_cut() -> None:
    long = read("a" * 4_000, **saying.forwarding("b\n" * 3_000))
    assert len(long) <= LONGEST
    assert str(FORUM) not in long
