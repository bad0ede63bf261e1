"""From the Markdown of a reply to what Discord shows."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.discord.outgoing import LONGEST, draft, escape, for_discord, link, messages, shortened, units
from connectors.markup import tables_as_text

JOINER = "\u2060"
MENTIONS = [
    "@everyone",
    "@here",
    "<@1234567890>",
    "<@!1234567890>",
    "<@&1234567890>",
    "<@$1234567890>",
    "<#1234567890>",
    "</support ask:1234567890>",
    "<id:browse>",
    "<id:linked-roles:12>",
    "<:smile:1234567890>",
    "<a:smile:1234567890>",
    "<t:1700000000:R>",
    "<sound:1:2>",
    "<discord://-/channels/1>",
    "<steam:/run>",
    "<ann@x.example>",
    "<+491234567>",
    "discord.gg/abcd",
    "https://discord.gg/abcd",
    "discord.com/invite/abcd",
    "<https://discordapp.com/invite/abcd>",
    "&lt;@1234567890&gt;",
    "&#64;everyone",
    "@&#101;veryone",
    "\\<@1234567890>",
    "\\@everyone",
    "<&#64;1234567890>",
    "@[everyone](javascript:x)",
    "<[@1234567890](/x)>",
]
LIVE = re.compile(
    r"@(?:everyone|here)|<(?:@[!&$]?\d|#\d|/[^<>:]+:\d|id:|a?:\w+:\d|t:-?\d|sound:)"
    r"|<(?!\u2060)[^\s<>]*(?::/|@)|discord(?:app)?\.(?:gg|com/invite)/\w"
)
UNCOVERED = re.compile(r"(?<!<)https?://[^\s<]")
FENCED = re.compile(r"^[ >\d.☐☑-]*```.*?^[ >]*```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?P<escaped>\\[\\`])|``(?!`)(?:[^`\n]|`(?!`))+``|`[^`\n]+`")


def outside_code(shown: str) -> str:
    """The text without blocks of code and code on one line."""
    return CODE.sub(lambda found: found["escaped"] or " § ", FENCED.sub("", shown))


def outside_links(shown: str) -> str:
    """The text without addresses in `<>`, other than invitations."""
    return re.sub(r"<https?://(?!(?:www\.)?discord)[^\s<>]*>", " § ", shown)


def check(shown: str) -> None:
    """Nothing outside code mentions, invites or is previewed, and all fences are closed."""
    assert shown.count("```") % 2 == 0, shown
    assert not LIVE.search(outside_links(outside_code(shown))), shown
    assert not UNCOVERED.search(outside_links(outside_code(shown))), shown
    shown.encode()


def read(shown: str) -> str:
    """What a person reads: Discord takes away the backslashes and the marks."""
    return re.sub(r"\\(?=[^0-9A-Za-z\s])", "", shown).replace(JOINER, "")


# Safe -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mention", MENTIONS)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "Hi {} there",
        "**{}**",
        "_{}_",
        "- {}",
        "> {}",
        "# {}",
        "#### {}",
        "[{}](https://x.example)",
        "[x]({})",
        "![{}](u)",
        "[x](https://x.example/{})",
        "https://x.example/{}",
        "`{}",
        "a\\`{}`",
        "| a |\n|---|\n| {} |",
        "| {} | b |",
        "a<br>{}",
        "~~{}~~ ||{}||",
        "[a][{}]\n\n[b]: {}",
    ],
)
def test_nothing_looks_like_a_mention(mention: str, around: str) -> None:
    text = around.replace("{}", mention)
    check(for_discord(text))
    check(draft(text))
    for at in range(len(text)):
        check(draft(text[:at]))


@pytest.mark.parametrize("mention", MENTIONS)
def test_code_stays_as_it_is(mention: str) -> None:
    assert for_discord(f"`{mention}`") == f"`{mention}`"
    assert for_discord(f"```\n{mention}\n```") == f"```\n{mention}\n```"


def test_a_mention_can_still_be_read() -> None:
    assert read(for_discord("Ask @everyone or <@12> in <#13>, &lt;!x")) == "Ask @everyone or <@12> in <#13>, <!x"
    assert for_discord("Ask @everyone or <@12>") == f"Ask @{JOINER}everyone or <{JOINER}@12>"


def test_what_cannot_be_sent_is_left_out() -> None:
    assert for_discord("a\x00b\x07c\r\nd\re\ud83d") == "abc\nd\ne\ufffd"


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("[words](https://x.example/?a=1&b=2)", "[words](<https://x.example/?a=1&b=2>)"),
        ('[words](https://x.example "Title")', "[words](<https://x.example>)"),
        ("[words](<https://x.example>)", "[words](<https://x.example>)"),
        ("[**a** `b` _c_](https://x.example)", "[**a** `b` *c*](<https://x.example>)"),
        ("[a [b] c](https://x.example)", "[a \\[b\\] c](<https://x.example>)"),
        ("[a](https://x.example/a_(b))", "[a](<https://x.example/a_%28b%29>)"),
        ("[a](HTTPS://X.example/ä)", "[a](<HTTPS://X.example/%C3%A4>)"),
        ("[a](https://x.example/@everyone)", "[a](<https://x.example/%40everyone>)"),
        ("See https://x.example/a_b_c.", "See <https://x.example/a_b_c>."),
        ("(https://x.example/a_(b)), https://y.example?", "(<https://x.example/a_(b)>), <https://y.example>?"),
        ("<https://x.example>", "<https://x.example>"),
        ("https&#58;//x.example", "<https://x.example>"),
        ("![a picture](https://x.example/p.png)", "[a picture](<https://x.example/p.png>)"),
        ("![](https://x.example/p.png)", "<https://x.example/p.png>"),
        ("[x](javascript:alert(1)) [y](discord://-/a) [z](file:///x) [r](/rel)", "x y z r"),
        ("[mail us](mailto:a@b.example) <mailto:a@b.example>", "mail us (a@b.example) a@b.example"),
        ("[a@b.example](mailto:a@b.example) [call](tel:+49123)", "a@b.example call (+49123)"),
        ("[https://x.example](https://x.example)", "<https://x.example>"),
        ("[x.example/](https://www.x.example)", "<https://www.x.example>"),
        ("[bank.com](https://evil.example)", "bank.com (<https://evil.example>)"),
        ("[https://bank.com](https://evil.example)", f"https:{JOINER}//bank.com (<https://evil.example>)"),
        ("[Node.js](https://nodejs.example)", "[Node.js](<https://nodejs.example>)"),
        ("[](https://x.example)", "<https://x.example>"),
        ("[join](https://discord.gg/abc)", "join"),
        ("[](https://discord.gg/abc)", f"discord.gg/{JOINER}abc"),
        ("So it is [1][2], see [3].", "So it is [1][2], see [3]."),
        ("[1]: https://x.example", "[1]: <https://x.example>"),
        (
            "see [the docs][d] or [D][]\n\n[d]: <https://d.example> 'T'",
            "see [the docs](<https://d.example>) or [D](<https://d.example>)\n",
        ),
        ("see [d], `[d]`\n```\n[d]\n```\n[d]: https://d.example", "see [d](<https://d.example>), `[d]`\n```\n[d]\n```"),
        ("a](b [a]\\(b", "a]\\(b [a]\\(b"),
    ],
)
def test_links(markdown: str, shown: str) -> None:
    assert for_discord(markdown) == shown


def test_an_address_that_is_too_long_is_no_link() -> None:
    address = "https://x.example/" + "a" * 1_600
    assert for_discord(f"[words]({address})") == "words"
    check(for_discord(address))


def test_a_link_of_plain_words() -> None:
    assert link("https://x.example", "*A* [b] <@1>") == f"[\\*A\\* \\[b\\] <{JOINER}@1>](<https://x.example>)"
    assert link("https://x.example", "") == "<https://x.example>"
    assert link("javascript:x", "# A *b*") == "\\# A \\*b\\*"
    assert link(None, "A\nb") == "A b"


# Markup ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "**bold** *it* ***both*** ~~gone~~ `code` ``a ` b``",
        "# One\n## Two\n### Three",
        "- a\n  - b\n    - c\n1. d\n2. e\n> quoted\n> more",
        "```py\nx = 1\n```",
        "- ```sh\n  ls\n  ```",
        "> ```\n> x\n> ```",
        "2 * 3 * 4, snake_case_name, ~5, a | b, a < b > c, <3, x <- y, List<int>, C:\\dir",
        "Fish & chips, 5 €, 50 %, #1 at 10:30, me@x.example",
        "**a *b* c**",
        "Done [1], and [2][3].",
        "",
        "\n\n a \n",
    ],
)
def test_what_discord_knows_stays(text: str) -> None:
    assert for_discord(text).strip() == text.replace("``a ` b``", "`` a ` b ``").strip()


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("__bold__ _it_", "**bold** *it*"),
        ("#### Four **b** #\n###### *Six*", "**Four b**\n***Six***"),
        (" # One #\n#\n##\tTwo", "# One\n\n## Two"),
        ("Title\n=====\nSub\n---\ntext", "# Title\n## Sub\ntext"),
        ("One line.\n---\nTwo\nlines\n---", "One line.\n———\nTwo\nlines\n———"),
        ("---\n***\n_ _ _\n- - -", "———\n———\n———\n———"),
        ("* a\n\t+ b\n1) c\n- [ ] d\n- [x] e\n-", "- a\n    - b\n1. c\n- ☐ d\n- ☑ e\n-"),
        (">a\n>> b\n>>> c", "> a\n> > b\n> > > c"),
        ("-# small\n#tag\n\\- x\n1\\. y\n\\> z\n+1", "\\-# small\n\\#tag\n\\- x\n1\\. y\n\\> z\n+1"),
        ("&#35; a\n&gt; b\n&#45; c\n1&#46; d", "\\# a\n\\> b\n\\- c\n1\\. d"),
        ("**1. a**\n**# b**", "**1\\. a**\n**\\# b**"),
        ("||a|| x__init__y a*b*c *a 5 _b", "\\|\\|a\\|\\| x\\_\\_init\\_\\_y a\\*b\\*c \\*a 5 \\_b"),
        ("*a \\* b* \\*c\\* \\_d\\_", "_a \\* b_ \\*c\\* \\_d\\_"),
        ("un**believ**able", "un**believ**able"),
        ("a ` b `` c", "a \\` b \\`\\` c"),
        ("```x``` a", "`x` a"),
        ("~~~py\na ``` b\n~~~", f"```py\na ``{JOINER}` b\n```"),
        ("+ ```\n  a\n  ```\n1) ~~~\n   b\n   ~~~", "- ```\n  a\n  ```\n1. ```\n   b\n   ```"),
        ("````\n```\n````", f"```\n``{JOINER}`\n```"),
        ("```a b?\nx\n```\n```c++ {1}\ny\n```\n```?\nz\n```", "```a\nx\n```\n```c++\ny\n```\n```\nz\n```"),
        ("```\nnever closed", "```\nnever closed\n```"),
        (">```\n>x\n>```", "> ```\n> x\n> ```"),
        ("a\n```\n```\nb", "a\nb"),
        ("a<br># b<br/>- c\n> d<br>e\n- f<br>g", "a\n\\# b\n\\- c\n> d\n> e\n- f\n  g"),
        ("AT&amp;T &copy; &lt;b&gt; &nope;", "AT&T © <b> &nope;"),
        ("C:\\ärger \\\nnext  \nlast", "C:\\\\ärger\nnext\nlast"),
        ("<b>a</b> <!-- b -->", f"<b>a<{JOINER}/b> <{JOINER}!-- b -->"),
        ("| a | b |\n|---|--:|\n| **1** | `2` |", "```\na  b\n-  -\n1  2\n```"),
        ("a | b\n--|--\n1 | 2", "```\na  b\n-  -\n1  2\n```"),
    ],
)
def test_what_discord_does_not_know(markdown: str, shown: str) -> None:
    assert for_discord(markdown) == shown


@pytest.mark.parametrize(
    "name",
    ["Ann", "*Ann*", "__x__", "# Ann", "- a", "1. b", "> c", "-# d", "||e||", "`f`", "[g](h)", "~~i~~", "a_b", "\\"],
)
def test_names_are_shown_as_they_are(name: str) -> None:
    assert read(escape(name)) == name
    assert for_discord(f"x {escape(name)}").removeprefix("x ") in (f"{escape(name)}", escape(name).removeprefix("\\"))


def test_names_stand_in_one_line() -> None:
    assert escape(" Ann\n\nof  @here <@1> ") == f"Ann of @{JOINER}here <{JOINER}@1>"
    assert escape("https://x.example :smile:") == f"https:{JOINER}//x.example \\:smile:"


def test_lengths() -> None:
    assert units("a👩é") == 4
    assert shortened("a👩é", 4) == "a👩é"
    assert shortened("👩👩👩", 5) == "👩👩…"
    assert shortened("👩‍👧 and more", 6) == "👩‍👧…"
    assert all(units(shortened("👩‍👧 e\u0301" * 9, limit)) <= limit for limit in range(1, 40))


# Messages -------------------------------------------------------------------------------------------------------------


def test_long_replies_are_several_messages() -> None:
    text = "\n\n".join(f"Paragraph {n} with *words* and 5*5: " + "more words " * 20 for n in range(60))
    parts = messages(text)
    assert len(parts) > 5
    assert all(1_000 < units(part) <= LONGEST for part in parts[:-1])
    assert " ".join(" ".join(parts).split()) == " ".join(for_discord(text).split())
    assert messages("") == []
    assert messages("\n \n") == []
    assert messages("```\n```") == []


def test_nothing_is_cut_that_belongs_together() -> None:
    wholes = ["[some words](https://x.example/a?b=c)", "`code --flag`", "👩‍👩‍👧‍👦", "https://x.example/abc"]
    shown = ["[some words](<https://x.example/a?b=c>)", "`code --flag`", "👩‍👩‍👧‍👦", "<https://x.example/abc>"]
    for whole, one in zip(wholes, shown, strict=True):
        parts = messages(f"{whole} word " * 100, 150)
        assert sum(part.count(one) for part in parts) == 100
        assert all(units(part) <= 150 for part in parts)


def test_code_goes_on_in_the_next_message() -> None:
    code = "\n".join(f"line_{n} = '<@{n}>'" for n in range(300))
    parts = messages(f"Do:\n\n~~~~py\n{code}\n~~~~\n\nDone.")
    assert len(parts) > 2
    for part in parts:
        check(part)
    assert [line for part in parts for line in part.split("\n") if line.startswith("line_")] == code.split("\n")
    assert all(part.startswith("```py\n") for part in parts[1:])


def test_a_table_goes_on_with_its_header() -> None:
    table = "| Plan | Price |\n|---|---|\n" + "\n".join(f"| Plan number {n} | {n} € |" for n in range(300))
    parts = messages(table)
    assert all(part.startswith("```\nPlan") and part.endswith("\n```") and units(part) <= LONGEST for part in parts)
    assert sum(part.count("Plan number") for part in parts) == 300


def test_what_gets_longer_when_it_is_made_safe() -> None:
    for text in ("a*" * 2_500, "<@1> " * 1_500, "😀" * 3_000, "a*b " * 2_000, "https://x.example/ " * 300):
        parts = messages(text)
        assert all(units(part) <= LONGEST for part in parts)
        for part in parts:
            check(part)
        assert "".join(read("".join(parts)).split()) == "".join(read(for_discord(text)).split())


PIECES = st.sampled_from(
    [
        *(
            "<",
            ">",
            "@",
            "@everyone",
            "@here",
            "<@1>",
            "<@&1>",
            "<#1>",
            "<:a:1>",
            "<t:1>",
            "</a:1>",
            "<id:browse>",
            "&lt;",
        ),
        *(
            "&#64;",
            "`",
            "``",
            "```",
            "```\n",
            "```py\n",
            "~~~\n",
            "\n",
            "\n\n",
            "| a | b |\n",
            "|---|---|\n",
            "| 1 | @here |\n",
        ),
        *(
            "|",
            "||",
            "[",
            "]",
            "(",
            ")",
            "[w](https://x.example)",
            "[w](javascript:x)",
            "[",
            "](",
            "https://x.example/a",
        ),
        *(
            "<https://x.example>",
            "discord.gg/a",
            "\\",
            " ",
            "word ",
            "*",
            "**",
            "***",
            "_",
            "__",
            "~",
            "~~",
            "> ",
            ">>> ",
        ),
        *(
            "- ",
            "-# ",
            "1. ",
            "1",
            "#",
            "# ",
            "#### ",
            "=\n",
            "---\n",
            "é",
            "👩\u200d👧",
            "🇩🇪",
            "<br>",
            "\u2060",
            ":",
            "/",
            "!",
        ),
        *("everyone", "here", "a:", "[a]: https://y.example\n", "[a]", "\u200b", "\ud83d"),
    ]
)
MARKDOWN = st.lists(PIECES, max_size=60).map("".join)


@settings(deadline=None, max_examples=500)
@given(MARKDOWN | st.text())
def test_whatever_comes_is_safe(text: str) -> None:
    check(for_discord(text))
    for part in messages(text, 120):
        assert part.strip()
        assert units(part) <= 120
        part.encode()
        assert not LIVE.search(outside_links(outside_code(part)))
    for limit in (60, 2_000):
        shown = draft(text, limit)
        assert units(shown) <= limit
        check(shown)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text("ab ,.é日😀", min_size=1, max_size=40), max_size=30).map("\n".join), st.integers(20, 200))
def test_nothing_is_lost(text: str, limit: int) -> None:
    assert "".join("".join(messages(text, limit)).split()) == "".join(text.split())


@settings(deadline=None, max_examples=300)
@given(MARKDOWN)
def test_made_safe_twice_reads_the_same(text: str) -> None:
    once = for_discord(text)
    check(for_discord(once))


# Drafts ---------------------------------------------------------------------------------------------------------------

ANSWER = """# Title

Hi @everyone and <@12>, **this is important**: List<int> is <https://x.example/a> [1].
See [the **fees**](https://x.example/a_(b)) or ![p](https://x.example/p) `<@1>` ``b`c`` 👩‍👩‍👧 e\u0301 🇩🇪.

1. First *step*
2. Second __step__
   - [ ] with a ~~task~~

```sh
ls --all
```

| Plan | Price |
|:---|---:|
| Basic | 5 |

> quote
#### Small
The end.
"""


def test_a_draft_that_grows() -> None:
    shown = [draft(ANSWER[:at]) for at in range(len(ANSWER) + 1)]
    for one in shown:
        check(one)
        assert "…" not in one
    steady = sum(after.startswith(before.rstrip("*~` \n")) for before, after in pairwise(shown))
    assert steady > len(shown) * 0.9
    assert shown[-1] == for_discord(ANSWER).strip("\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hello ", "Hello"),
        ("Hello <@12", "Hello"),
        ("Hello <", "Hello"),
        ("See https://x.exa", "See"),
        ("Hello @every", "Hello @every"),
        ("See [the fees](https://x.exa", "See"),
        ("See [the", "See"),
        ("See [1]", "See"),
        ("See [1] ", "See [1]"),
        ("Fish &am", "Fish"),
        ("This is **impor", "This is **impor**"),
        ("This is **important*", "This is **important**"),
        ("This is *it", "This is *it*"),
        ("Run `x --fl", "Run `x --fl`"),
        ("Run ``", "Run"),
        ("Text\n``", "Text"),
        ("Text\n```py", "Text"),
        ("Text\n```py\n", "Text"),
        ("Text\n```py\nx = 1", "Text\n```py\nx = 1\n```"),
        ("Text\n```py\nx = 1\n``", "Text\n```py\nx = 1\n```"),
        ("Text\n| a | b |", "Text"),
        ("Text\n| a | b |\n|--", "Text"),
        ("Text\n| a | b |\n|---|---|\n| 1 ", "Text\n```\na  b\n-  -\n```"),
        ("Text\n-", "Text"),
        ("Text\n- [", "Text"),
        ("Text\n12.", "Text"),
        ("Text\n##", "Text"),
        ("Text 👩\u200d", "Text 👩"),
        ("5 * 3 ", "5 * 3"),
        ("", ""),
    ],
)
def test_nothing_is_shown_half(text: str, shown: str) -> None:
    assert draft(text).rstrip() == shown


def test_a_draft_that_is_longer_than_a_message() -> None:
    text = " ".join(f"Sentence **{n}** is here." for n in range(400))
    shown = [draft(text[:at]) for at in range(0, len(text), 101)]
    assert all(units(one) <= LONGEST for one in shown)
    full = [one for one in shown if one.endswith(" …")]
    assert len(full) > 50
    assert len(set(full)) == 1
    assert units(full[0]) > LONGEST - 30
    assert for_discord(text).startswith(full[0].removesuffix(" …"))
    before = shown[len(shown) - len(full) - 1]
    assert full[0].startswith(before[:1_900])


def test_a_draft_that_ends_in_code() -> None:
    shown = draft("Run:\n```sh\n" + "run it now\n" * 400)
    assert shown.endswith("\n```\n…")
    assert units(shown) <= LONGEST
    check(shown)


# Time -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<",
            "<!",
            "< ",
            "&lt;",
            "`",
            "` ",
            "``` ",
            "[",
            "[a](",
            "[a][",
            "\\",
            "<br>",
            "> ",
            "**a ",
            "~~a ",
            "https://",
        ),
        *("| ", "- ", "<b ", "_a ", "@everyone ", "<@1>", "* ", "*a", "_", "]:", "[a]: x\n", "(", "<a:", "a.b/", "\n"),
        *("discord.gg/", "https://x)", "-# ", "=\n", "e\u0301", "👩\u200d", ":a", "1. ", "word ", "x"),
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    started = time.process_time()
    for_discord(text)
    assert all(units(part) <= LONGEST for part in messages(text))
    assert units(draft(text)) <= LONGEST
    assert time.process_time() - started < 6


def test_tables_are_those_of_all_platforms() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    assert for_discord(table) == tables_as_text(table)
