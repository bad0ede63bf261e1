"""From the Markdown of a reply to what Slack shows."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.markup import Fences
from connectors.slack.outgoing import Appending, for_markdown, for_mrkdwn, link, messages

JOINER = "\u2060"
MENTIONS = [
    "<!channel>",
    "<!here>",
    "<!HERE|here>",
    "<!Everyone>",
    "<!subteam^S1>",
    "<!date^1392734382^{date}^https://x.example|then>",
    "<@U123>",
    "<@u123|name>",
    "<#C123|general>",
    "< !channel>",
    "<\t@U1>",
    "<\u200b!channel>",
    "<\u2060\u200d@U1>",
    "<\ufeff#C1>",
    "<\u00ad!here>",
    "<&#33;channel>",
    "<&excl;here>",
    "<&commat;U1>",
    "<\\!channel>",
    "\\<!channel>",
    "<**!channel**>",
    "<<!channel>>",
    "<<br>!channel>",
    "<b>!channel>",
    "<" + " " * 60 + "!channel>",
    "<&lt;!channel>",
    "&#60;<!channel>",
]
NOTHING = r"[^\S\n]|[\u200b-\u200f\u2060\ufeff\u00ad*_~\\<]"
LIVE = re.compile(
    rf"<(?!\u2060)(?:{NOTHING})*(?:[@#]|!(?!--|doctype)|&(?:#(?!0*60|x0*3c)|excl|commat|num))", re.IGNORECASE
)


def outside_code(markdown: str) -> str:
    """The text without fenced blocks and inline code on one line."""
    fences = Fences()
    lines = [line for line in markdown.split("\n") if not fences.inside(line)]
    return re.sub(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", "", "\n".join(lines))


# Markdown -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mention", MENTIONS)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "Hi {} there",
        "**{}**",
        "- {}",
        "> {}",
        "# {}",
        "[{}](https://x.example)",
        "[x]({})",
        "![{}](u)",
        "[x](https://x.example/{})",
        "https://x.example/{}",
        "`{}`",
        "``{}``",
        "```\n{}\n```",
        "~~~ {}\nx\n~~~",
        "`{}",
        "| a |\n|---|\n| {} |",
        "| {} | b |",
        "a\\`{}`",
    ],
)
def test_nothing_notifies(mention: str, around: str) -> None:
    text = around.format(mention)
    assert not LIVE.search(for_markdown(text)), for_markdown(text)
    assert all(
        re.match(r"<(?:https?:|mailto:|tel:)[^<>]*>", found) for found in re.findall(r"<[^<>]*>?", for_mrkdwn(text))
    )
    assert JOINER not in outside_code(for_markdown(text)) or JOINER in mention


@pytest.mark.parametrize(
    "mention", ["&lt;!channel&gt;", "&#60;!channel>", "&#x3C;@U1>", "&LT;!here>", "&#060;#C1>", "&lt!here>"]
)
def test_an_entity_is_never_made_a_mention(mention: str) -> None:
    assert for_markdown(f"a {mention}").startswith("a &lt;")
    assert for_mrkdwn(f"a {mention}").startswith(("a &lt;", "a &amp;lt!"))
    assert for_markdown(f"`{mention}`") == for_markdown(f"`{mention}`").replace(";!", f";{JOINER}!")
    assert JOINER in for_markdown(f"```\n{mention}\n```")


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "List<int> and Map<String, List<int>>",
        "<https://x.example/a?b=c&d=e>",
        "<mailto:a@b.example>",
        "x <- y, a <= b, a << 3, <3",
        "**a** _b_ [c](https://x.example) `List<int>` ~~d~~",
        "AT&T, &amp;, &copy; Fish & chips",
        "```html\n<b>bold</b> <!-- note --> <!DOCTYPE html>\n```",
        "`<b>` and `a < !b`"[:7],
        "# Title\n\n- a\n  - b\n1. c\n> d\n\n---\n",
        "C:\\dir \\* \\[1]",
        "me@x.example #1 @home !important",
        "",
        "\n\n a \n",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert for_markdown(text) == text


def test_a_mention_over_two_lines() -> None:
    assert for_markdown("<\n!channel> <** \n@U1>") == "&lt;\n!channel> &lt;** \n@U1>"


def test_html_is_shown_as_text() -> None:
    assert for_markdown("<b>a</b> <img src=x> <script>x</script> <A href='x'>y</A>") == (
        "&lt;b>a&lt;/b> &lt;img src=x> &lt;script>x&lt;/script> &lt;A href='x'>y&lt;/A>"
    )
    assert for_markdown("a<br>b<BR /> **c**<br>```<br> `<br>`<br>") == "a\nb\n**c**&lt;br>```\n`<br>`"


def test_tables_are_shown_as_text() -> None:
    assert (
        for_markdown("| a | b |\n|---|---|\n| <!here> | `x` |")
        == f"```\na        b\n-------  -\n<{JOINER}!here>  x\n```"
    )
    assert for_markdown("a | b\n--|--\n1 | 2") == "```\na  b\n-  -\n1  2\n```"


def test_a_table_without_outer_pipes_replaces_the_draft() -> None:
    appending = Appending()
    appending.take("a | b\n--|--\n1 | ")
    assert appending.finish("a | b\n--|--\n1 | 2") is None


def test_long_replies_are_several_messages() -> None:
    text = "\n\n".join(f"Paragraph {n} " + "with words " * 30 for n in range(100))
    parts = messages(text)
    assert len(parts) > 2
    assert all(0 < len(part) <= 11_000 for part in parts)
    assert " ".join(" ".join(parts).split()) == " ".join(text.split())
    hostile = messages("<!" * 20_000)
    assert all(len(part) <= 12_000 and not LIVE.search(part) for part in hostile)
    assert messages("") == []


PIECES = st.sampled_from(
    [
        "<",
        "!",
        "@",
        "#",
        "channel>",
        "<!here>",
        "<@U1>",
        "<@U1|x>",
        "&",
        "&lt;",
        "&#60;",
        "`",
        "``",
        "```",
        "```\n",
        "```py\n",
        "\n",
        "\n\n",
        "| a | b |\n",
        "|---|---|\n",
        "| 1 | <!x> |\n",
        "|",
        "[",
        "]",
        "(",
        ")",
        "[w](https://x.example)",
        "https://x.example/a",
        "<https://x.example>",
        "\\",
        " ",
        "word ",
        "*",
        "**",
        "_",
        "~",
        "~~~\n",
        "> ",
        "- ",
        "1. ",
        "1",
        "é",
        "👩\u200d👧",
        "🇩🇪",
        "1️⃣",
        "<b>",
        "</b>",
        "<br>",
        "b",
        "r",
        "\u200b",
        ";",
    ]
)
MARKDOWN = st.lists(PIECES, max_size=60).map("".join)


@settings(deadline=None, max_examples=400)
@given(MARKDOWN | st.text())
def test_made_safe_once_is_safe(text: str) -> None:
    shown = for_markdown(text)
    assert not LIVE.search(shown)
    assert for_markdown(shown) == shown or "|" in text or "<br>" in text
    for part in messages(text, 100):
        assert not LIVE.search(part)


# Appending ------------------------------------------------------------------------------------------------------------

ANSWER = """# Title

Hi <!channel> and < @U1|x>, &lt;!here&gt; and &#60;!here>: List<int> is <https://x.example/a> [1].
See [the **fees**](https://x.example/a_(b)) or ![p](https://x.example/p) `<!here>` ``b`<@U1>`` 👩‍👩‍👧 e\u0301 1\ufe0f\u20e3 🇩🇪.

| Plan | Price |
|:---|---:|
| [Basic](https://a.example) | 5 < 6 |
| <!subteam^S1> | 日本 |

Text | with a pipe
- ```sh
  x <#C1> & y &amp; z
  ```
1. ~~~
   | a |
   |---|
   ~~~
> quote <b>bold</b><br>next
````
```
````
"""


def test_a_draft_that_is_cut_anywhere() -> None:
    whole = for_markdown(ANSWER)
    for at in range(len(ANSWER) + 1):
        appending = Appending()
        first = appending.take(ANSWER[:at])
        assert whole.startswith(first), ANSWER[:at]
        rest = appending.finish(ANSWER)
        assert rest is not None
        assert first + rest == whole == appending.appended


def test_a_draft_that_grows_by_one_character() -> None:
    appending = Appending()
    pieces = [appending.take(ANSWER[:at]) for at in range(len(ANSWER) + 1)]
    for piece in pieces:
        assert not LIVE.search(piece)
        assert not unicodedata.combining(piece[:1] or " ")
    # It does flow: nothing but the table and the end is late.
    assert sum(1 for piece in pieces if piece) > len(ANSWER) // 4
    assert "".join(pieces) + (appending.finish(ANSWER) or "") == for_markdown(ANSWER)


@pytest.mark.parametrize("mention", MENTIONS)
def test_a_mention_in_two_pieces(mention: str) -> None:
    for before in ("Hi ", "`", "```\n", "[", "- "):
        text = f"{before}{mention} and more"
        for at in range(len(text)):
            appending = Appending()
            shown = appending.take(text[:at]) + appending.take(text)
            assert not LIVE.search(shown)
            assert appending.finish(text) is not None, (text, at)


@pytest.mark.parametrize(
    ("draft", "shown"),
    [
        ("Hello ", "Hello "),
        ("Hello <!chan", "Hello "),
        ("Hello <", "Hello "),
        ("Hello <https://x.exam", "Hello "),
        ("See [the fees](https://x.exa", "See "),
        ("See [the", "See "),
        ("See [1]", "See "),
        ("See [1] ", "See [1] "),
        ("Fish &am", "Fish "),
        ("Run `x --fl", "Run "),
        ("Text\n| a | b |\n|---|---|\n| 1 |", "Text"),
        ("Text\n\n``", "Text\n"),
        ("Text ❤", "Text "),
        ("Text 👩\u200d", "Text "),
        ("Text \ud83d", "Text "),
        ("a < b ", "a < b "),
    ],
)
def test_what_may_change_is_held_back(draft: str, shown: str) -> None:
    assert Appending().take(draft) == shown


def test_a_table_is_appended_when_it_has_ended() -> None:
    appending = Appending()
    assert appending.take("| a | b |\n|---|---|\n| 1 | 2 |\n") == ""
    assert appending.take("| a | b |\n|---|---|\n| 1 | 2 |\n\nNow") == "```\na  b\n-  -\n1  2\n```\n\nNo"


def test_a_draft_that_was_changed() -> None:
    appending = Appending()
    appending.take("It costs 5 euros. ")
    assert appending.take("It is free. ") == ""
    assert appending.take("It is free. Really. ") == ""
    assert appending.finish("It is free. Really.") is None


def test_a_final_text_that_is_another() -> None:
    appending = Appending()
    appending.take("It costs 5 euros. ")
    assert appending.finish("It is free.") is None
    assert appending.appended == "It costs 5 euros. "
    assert appending.finish("It costs 5 euros. [1]") == "[1]"


def test_nothing_appended() -> None:
    assert Appending().finish("All at once") == "All at once"
    assert Appending().finish("") == ""


@settings(deadline=None, max_examples=400)
@given(MARKDOWN | st.text(), st.lists(st.integers(0, 200), max_size=12))
def test_the_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    appending = Appending()
    shown = "".join(appending.take(text[:at]) for at in sorted(cuts))
    assert not LIVE.search(shown)
    rest = appending.finish(text)
    assert rest is not None or _has_table_without_pipes(text)
    assert rest is None or shown + rest == for_markdown(text) == appending.appended


def _has_table_without_pipes(text: str) -> bool:
    return bool(re.search(r"^(?![ \t>]*\|).*\|.*\n(?:[ \t>]*)[|:-]", text, re.MULTILINE))


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "| a | b |\n",
        "```\n",
        "`",
        "` ",
        "[",
        "[a](",
        "<",
        "<!",
        "&",
        "> ",
        "x",
        "e\u0301",
        "\u0301",
        "👩\u200d",
        "**",
        "\\",
    ],
)
def test_drafts_take_linear_time(unit: str) -> None:
    text = (unit * 20_000)[:20_000]
    appending = Appending()
    started = time.process_time()
    for at in range(0, len(text), 20):
        appending.take(text[:at])
    assert appending.finish(text) is not None
    assert time.process_time() - started < 4


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<!",
        "< ",
        "&lt;",
        "`",
        "` ",
        "``` ",
        "[",
        "[a](",
        "\\",
        "<br>",
        "> ",
        "**a ",
        "~~a ",
        "https://",
        "| ",
        "- ",
        "<b ",
        "\u200b<",
        "_a ",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    started = time.process_time()
    for_markdown(text)
    for_mrkdwn(text)
    assert time.process_time() - started < 4


# Mrkdwn ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        (
            "**bold** __bold__ *it* _it_ ***both*** ~~gone~~ `co<de`",
            "*bold* *bold* _it_ _it_ *_both_* ~gone~ `co&lt;de`",
        ),
        ("**a *b* c**", "*a _b_ c*"),
        ("2 * 3 * 4, snake_case_name, a*b*c, 5*, ~5", "2 * 3 * 4, snake_case_name, a*b*c, 5*, ~5"),
        ("un**believ**able 一**粗**体", "unbelievable 一粗体"),
        ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
        ("Fish &amp; chips &lt;b&gt; &amp;lt;", "Fish &amp; chips &lt;b&gt; &amp;lt;"),
        ("[words](https://x.example/?a=1&b=2)", "<https://x.example/?a=1&amp;b=2|words>"),
        ("[a | b > **c**](https://x.example/a|b)", "<https://x.example/a%7Cb|a ¦ b &gt; c>"),
        ("[https://x.example](https://x.example)", "<https://x.example>"),
        ("[here](/relative) [x](javascript:alert(1)) ![a picture](https://x.example/p.png)", "here x a picture"),
        ("<https://x.example> <mailto:a@b.example>", "<https://x.example> <mailto:a@b.example>"),
        ("https://x.example/a_b_/c_d_ (https://x.example)", "https://x.example/a_b_/c_d_ (https://x.example)"),
        ("# Title #\n## **Second** _one_", "*Title*\n*Second one*"),
        ("- a\n  * b\n+ c\n1. d\n- [ ] e\n- [x] f", "• a\n  • b\n• c\n1. d\n• ☐ e\n• ☑ f"),
        ("> quote **b**\n> > deep", "> quote *b*\n> > deep"),
        ("---\n***", "———\n———"),
        ("```py\na < b && **c**\n```", "```\na &lt; b &amp;&amp; **c**\n```"),
        ("~~~\nx\n~~~", "```\nx\n```"),
        ("```\nnever closed", "```\nnever closed\n```"),
        ("| a | b |\n|---|---|\n| 1 | <2 |", "```\na  b\n-  --\n1  &lt;2\n```"),
        ("Press \\[1] and \\*", "Press [1] and *"),
        ("So it is [1][2].", "So it is [1][2]."),
        ("a<br>b", "a\nb"),
        ("", ""),
    ],
)
def test_mrkdwn(markdown: str, shown: str) -> None:
    assert for_mrkdwn(markdown) == shown


@settings(deadline=None, max_examples=400)
@given(MARKDOWN | st.text())
def test_mrkdwn_has_only_links(text: str) -> None:
    shown = for_mrkdwn(text)
    bare = re.sub(r"<(?:https?://|mailto:|tel:)[^\s<>|]+(?:\|[^<>|\n]+)?>", "", shown)
    assert "<" not in bare
    assert ">" not in re.sub(r"^[ >]+", "", bare, flags=re.MULTILINE)
    assert not re.search(r"&(?!lt;|gt;|amp;)", bare)


def test_links() -> None:
    assert link("https://x.example", "<!channel>") == "<https://x.example|&lt;!channel&gt;>"
    assert link("https://x.example|<!here>", "x") == "<https://x.example%7C%3C!here%3E|x>"
    assert link("slack://user?id=U1", "x") == "x"
    assert link(None, "a & b") == "a &amp; b"
