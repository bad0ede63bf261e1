"""What a person wrote in Slack, as text."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.slack.incoming import mentioned_people, text_of

BOT = "U0BOT"
NAMES = {"U1": "Ann Lee", "C1": "help", "S1": "support-team"}


def section(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": list(elements)}


def words(text: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"style": style} if style else {})}


def event(*elements: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {
        "type": "message",
        "text": text,
        "blocks": [{"type": "rich_text", "block_id": "b1", "elements": list(elements)}],
    }


def read(*elements: dict[str, Any]) -> str:
    return text_of(event(*elements, text="not this"), bot_user=BOT, names=NAMES)


# Blocks ---------------------------------------------------------------------------------------------------------------


def test_a_mention_of_the_bot_is_left_out() -> None:
    bot = {"type": "user", "user_id": BOT}
    assert (
        read(section(bot, words(" Can you see "), {"type": "channel", "channel_id": "C1"}, words("?")))
        == "Can you see #help?"
    )
    assert read(section(words("Hey "), bot, words(", what is "), {"type": "user", "user_id": "U1"}, words("?"))) == (
        "Hey, what is @Ann Lee?"
    )
    assert read(section(words("What is up "), bot)) == "What is up"
    assert read(section(words("One\n"), bot, words(" two"))) == "One\ntwo"
    assert read(section(bot, words(" "), bot)) == ""


def test_styles() -> None:
    assert read(section(words("bold ", bold=True), words("it", italic=True), words(" "), words("no", strike=True))) == (
        "**bold** _it_ ~~no~~"
    )
    assert read(section(words("x <y> & *z*", code=True), words(" a < b & c"))) == "`x <y> & *z*` a < b & c"
    assert read(section(words("both", bold=True, italic=True))) == "_**both**_"


def test_lists_quotes_and_code() -> None:
    def listed(style: str, *items: str, **more: int) -> dict[str, Any]:
        return {"type": "rich_text_list", "style": style, "elements": [section(words(item)) for item in items], **more}

    assert (
        read(
            section(words("Two things:\n")),
            listed("ordered", "first", "second", indent=0),
            listed("bullet", "inner", indent=1),
            listed("ordered", "third", offset=2),
            {"type": "rich_text_quote", "elements": [words("said\nso")]},
            {"type": "rich_text_preformatted", "elements": [words("a < b\n  c", bold=True)]},
            section(words("end")),
        )
        == "Two things:\n1. first\n2. second\n   - inner\n3. third\n> said\n> so\n```\na < b\n  c\n```\nend"
    )


def test_code_that_has_fences() -> None:
    assert read({"type": "rich_text_preformatted", "elements": [words("```\nx\n```")]}) == "````\n```\nx\n```\n````"


def test_other_elements() -> None:
    assert read(
        section(
            {"type": "link", "url": "https://x.example/a?b=1&c=2", "text": "the page"},
            words(" "),
            {"type": "link", "url": "https://x.example"},
            words(" "),
            {"type": "link", "url": "mailto:a@b.example", "text": "a@b.example"},
            words(" "),
            {"type": "emoji", "name": "+1", "unicode": "1f44d-1f3fb"},
            {"type": "emoji", "name": "company_logo"},
            words(" "),
            {"type": "user", "user_id": "U2"},
            words(" "),
            {"type": "usergroup", "usergroup_id": "S1"},
            words(" "),
            {"type": "broadcast", "range": "here"},
            words(" "),
            {"type": "date", "timestamp": 1720710212, "format": "{date}", "fallback": "July 11"},
            words(" "),
            {"type": "color", "value": "#F405B3"},
            {"type": "unheard_of", "text": "x"},
        )
    ) == (
        "[the page](https://x.example/a?b=1&c=2) https://x.example a@b.example 👍🏻:company_logo: "
        "@U2 @support-team @here July 11 #F405B3"
    )


def test_blocks_without_words_leave_the_text() -> None:
    assert text_of(event(section(), text="the text")) == "the text"
    assert (
        text_of({"text": "the text", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x"}}]})
        == "the text"
    )


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<@U0BOT> Hey", "Hey"),
        ("<@U0BOT>: what, <@U0BOT>?", "what,?"),
        ("Hi <@U0BOT> and <@U0BOT> there", "Hi and there"),
        ("a &lt; b &amp;&amp; c &gt; d &amp;lt;", "a < b && c > d &lt;"),
        ("&lt;!here&gt; <!here> <!channel|channel>", "<!here> @here @channel"),
        (
            "<https://x.example/?a=1&amp;b=2|the page> <https://x.example> <http://x.example|x.example>",
            "[the page](https://x.example/?a=1&b=2) https://x.example http://x.example",
        ),
        ("<mailto:a@b.example|a@b.example> <tel:+491234|+49 1234>", "a@b.example [+49 1234](tel:+491234)"),
        ("<@U1|old> <@U2|bob> <@U3> <#C1> <#C2|sales> <#C3|>", "@Ann Lee @bob @U3 #help #sales #C3"),
        ("<!subteam^S1> <!subteam^S2|@ops>", "@support-team @ops"),
        ("<!date^1392734382^{date}^https://x.example|18 Feb 2014>", "18 Feb 2014"),
        ("one\n\ntwo\n  three", "one\n\ntwo\n  three"),
        ("1 < 2 > <>", "1 < 2 > <>"),
        ("", ""),
    ],
)
def test_text(text: str, said: str) -> None:
    assert text_of({"text": text}, bot_user=BOT, names=NAMES) == said


def test_other_bots_stay_without_a_name() -> None:
    assert text_of({"text": "<@U0BOT> hi"}) == "@U0BOT hi"


# Forwarded messages ---------------------------------------------------------------------------------------------------


def test_a_forwarded_message_is_quoted() -> None:
    shared = {
        "text": "It broke &amp; <@U1>\nhelp",
        "from_url": "https://x.slack.com/p1",
        "author_name": "Bob",
        "is_share": True,
    }
    assert text_of({"text": "What is this?", "attachments": [shared]}, names=NAMES) == (
        "What is this?\n\n> Bob (https://x.slack.com/p1):\n> It broke & @Ann Lee\n> help"
    )
    assert text_of({"text": "", "attachments": [{"text": "only this"}]}) == "> only this"
    blocks = [{"message": {"blocks": event(section(words("from blocks")))["blocks"]}}]
    assert text_of({"text": "x", "attachments": [{"text": "t", "message_blocks": blocks}]}) == "x\n\n> from blocks"


def test_a_preview_of_a_page_is_left_out() -> None:
    page = {
        "text": "Their words",
        "title_link": "https://x.example",
        "service_name": "X",
        "from_url": "https://x.example",
    }
    assert text_of({"text": "See https://x.example", "attachments": [page]}) == "See https://x.example"


# People ---------------------------------------------------------------------------------------------------------------


def test_mentioned_people() -> None:
    def user(identity: str) -> dict[str, Any]:
        return {"type": "user", "user_id": identity}

    listed = {"type": "rich_text_list", "elements": [section(user("U3"))]}
    assert mentioned_people(event(section(user("U2"), words(" "), user("U1"), user("U2")), listed)) == (
        "U2",
        "U1",
        "U3",
    )
    assert mentioned_people({"text": "<@U2> <@U1|x> <@U2> &lt;@U9&gt; <#C1>"}) == ("U2", "U1")
    assert mentioned_people({}) == ()


# Hostile events -------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["rich_text", "text", "user"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "elements",
                    "style",
                    "user_id",
                    "url",
                    "indent",
                    "offset",
                    "unicode",
                    "range",
                    "attachments",
                    "blocks",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)
KINDS: list[Any] = ["rich_text_section", "rich_text_list", "rich_text_quote", "rich_text_preformatted", None, 3]
INLINE: list[Any] = [
    "text",
    "link",
    "emoji",
    "user",
    "channel",
    "usergroup",
    "broadcast",
    "date",
    "color",
    "team",
    [],
    None,
]


@settings(deadline=None, max_examples=200)
@given(JSON, JSON, JSON, st.sampled_from(KINDS), st.sampled_from(INLINE))
def test_any_event_is_read(text: Any, inner: Any, extra: Any, kind: Any, inline: Any) -> None:
    element = {
        "type": inline,
        "text": inner,
        "url": inner,
        "user_id": inner,
        "name": extra,
        "unicode": extra,
        "style": extra,
        "timestamp": text,
    }
    hostile: list[Any] = [
        {"text": text, "blocks": inner, "attachments": extra},
        event(
            {
                "type": kind,
                "elements": [element, inner, {"elements": [element]}],
                "indent": inner,
                "offset": extra,
                "style": text,
            }
        ),
        {
            "text": text,
            "attachments": [{"text": inner, "author_name": extra, "from_url": text, "message_blocks": inner}, extra],
        },
        text,
    ]
    for one in hostile:
        assert isinstance(text_of(one, bot_user=BOT, names=extra), str)
        assert isinstance(mentioned_people(one), tuple)


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("<>@#!|&;ltgamp^U1 \n\x00:,")) | st.text())
def test_any_text_is_read(text: str) -> None:
    said = text_of({"text": text}, bot_user="U1")
    assert "\x00" not in said
    assert said == text_of(event(section(words(text)))) or "<" in text or "&" in text


def test_deep_and_large_events_are_bounded() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = {"type": "rich_text_section", "elements": [deep], "blocks": [deep], "text": deep}
    many = event(*[section(*[words("word " * 50) for _ in range(300)]) for _ in range(300)])
    large: list[Any] = [
        deep,
        event(deep),
        {"text": "<@U1> &amp; " * 200_000},
        {"text": "<" * 3_000_000},
        event(section(words("x" * 3_000_000))),
        event(*[{"type": "rich_text_list", "elements": [section(words("x" * 1000))] * 1000}] * 20),
        event(*[{"type": "rich_text_quote", "elements": [words("\n" * 50_000)]}] * 20),
        event(section(words(" " * 1_000_000 + "x", bold=True))),
        {"attachments": [{"text": "y" * 100_000}] * 1000},
        many,
    ]
    started = time.process_time()
    for one in large:
        assert len(text_of(one, bot_user=BOT)) <= 40_000
        mentioned_people(one)
    assert time.process_time() - started < 5
