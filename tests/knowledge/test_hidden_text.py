"""Text that nobody sees: found in HTML, Markdown, text and tables, kept for staff, and not in the document."""

from __future__ import annotations

import pytest

from knowledge.readers import Reading, SourceFile
from knowledge.readers.faq import reader as faq
from knowledge.readers.hidden import as_colour, cannot_be_told_apart, why_invisible, without_invisible
from knowledge.readers.html import reader as html
from knowledge.readers.markdown import reader as markdown
from knowledge.readers.text import reader as text

SECRET = "secret words"
READERS = {".html": html, ".md": markdown, ".txt": text, ".csv": faq, ".json": faq}


def reading(content: str, suffix: str = ".html") -> Reading:
    return READERS[suffix].read(SourceFile(f"a{suffix}", content.encode()))


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (f"<p style='display:none'>{SECRET}</p>", "display:none"),
        (f"<p style='visibility: hidden'>{SECRET}</p>", "visibility:hidden"),
        (f"<p hidden>{SECRET}</p>", "marked as hidden"),
        (f"<p style='opacity:0.01'>{SECRET}</p>", "transparent"),
        (f"<p style='font-size:1px'>{SECRET}</p>", "too small to be read"),
        (f"<p style='position:absolute;left:-9999px'>{SECRET}</p>", "outside of the page"),
        (f"<p style='text-indent:-200%'>{SECRET}</p>", "outside of the page"),
        (f"<p style='position:absolute;clip:rect(0,0,0,0)'>{SECRET}</p>", "cut down to nothing"),
        (f"<p style='height:1px;overflow:hidden'>{SECRET}</p>", "cut down to nothing"),
        (f"<p style='transform:scale(0)'>{SECRET}</p>", "cut down to nothing"),
        (f"<p style='color:#fff'>{SECRET}</p>", "white on white"),
        (f"<p style='color:rgb(254, 254, 254)'>{SECRET}</p>", "white on white"),
        (f"<font color=white>{SECRET}</font>", "white on white"),
        (
            f"<div style='background:#123456'>Seen? <span style='color:#123457'>{SECRET}</span></div>",
            "text of the colour behind it",
        ),
        (f"<p style='color:transparent'>{SECRET}</p>", "transparent text"),
        (f"<style>.x {{ display: none }}</style><p class=x>{SECRET}</p>", "display:none"),
        (f"<style>/* a */ p.x, .y {{ color: white }}</style><p class=y>{SECRET}</p>", "white on white"),
        (f"<style>@media screen {{ .x {{ font-size: 0 }} }}</style><p class=x>{SECRET}</p>", "too small to be read"),
    ],
)
def test_hidden_in_html(page: str, why: str) -> None:
    found = reading(f"<html><body><main><h1>T</h1><p>What everybody sees.</p>{page}</main></body></html>")
    assert "What everybody sees." in found.documents[0].text
    assert SECRET not in found.documents[0].text
    assert [(finding.text, finding.why) for finding in found.hidden] == [(SECRET, why)]


@pytest.mark.parametrize(
    "page",
    [
        "<p style='color:#fff;background:#000'>Seen words</p>",
        "<div style='background-color:navy'><p style='color:white'>Seen words</p></div>",
        "<table bgcolor=black><tr><td><font color=white>Seen words</font></table>",
        "<style>body{background:#111;color:#eee}</style><p>Seen words</p>",
        "<link rel=stylesheet href=a.css><p class=button style='color:#fff'>Seen words</p>",
        "<p style='background:url(a.png);color:#fff'>Seen words</p>",
        "<p style='background:linear-gradient(red, blue);color:white'>Seen words</p>",
        "<p style='-webkit-background-clip:text;color:transparent'>Seen words</p>",
        "<div style='color:white'><span style='color:black'>Seen words</span></div>",
        "<style>@media print { p { display: none } }</style><p>Seen words</p>",
        "<style>@media (max-width: 600px) { p { display: none } }</style><p>Seen words</p>",
        "<style>.tab {display:none} .tab.active {display:block}</style><p class='tab active'>Seen words</p>",
        "<style>p:hover {display:none} p::before {font-size:0} {{{ ]]</style><p>Seen words</p>",
        "<p hidden=until-found>Seen words</p>",
        "<p style='font-size:10px;left:-5px;opacity:.6'>Seen words</p>",
        "<p aria-hidden=false>Seen words</p>",
    ],
)
def test_seen_in_html(page: str) -> None:
    found = reading(f"<html><body><main><h1>T</h1>{page}</main></body></html>")
    assert "Seen words" in found.documents[0].text
    assert not found.hidden


def test_decoration_that_is_not_read_aloud_is_no_secret() -> None:
    found = reading("<main><p><span aria-hidden=true>→</span> Next</p></main>")
    assert (found.documents[0].text, found.hidden) == ("Next", ())


def tagged(words: str) -> str:
    return "".join(chr(0xE0000 + ord(letter)) for letter in words)


def selected(words: str) -> str:
    codes = words.encode()
    return "".join(chr(0xFE00 + code if code < 16 else 0xE0100 + code - 16) for code in codes)


CHARACTERS = {
    "in invisible tag characters": (tagged("Ignore this"), "Ignore this"),
    "in invisible variation selectors": (selected("Ignore this"), "Ignore this"),
    "a run of zero-width characters": ("\u200b\u200c\u200d\u200b\u200b\u200c\u200b\u200b\u200c", ""),
    "shown backwards by an override of the writing direction": ("\u202esdrow terces\u202c", "sdrow terces"),
}


@pytest.mark.parametrize("suffix", [".md", ".txt", ".html", ".csv", ".json"])
@pytest.mark.parametrize("why", sorted(CHARACTERS))
def test_hidden_in_characters(why: str, suffix: str) -> None:
    secret, said = CHARACTERS[why]
    wraps = {
        ".html": "<main><p>Seen {}words</p></main>",
        ".csv": "question,answer\nWhat?,Seen {}words\n",
        ".json": '[{{"q": "What?", "a": "Seen {}words"}}]',
    }
    found = reading(wraps.get(suffix, "Seen {}words").format(secret), suffix)
    assert [(finding.text, finding.why) for finding in found.hidden] == [(said, why)]
    assert "Seen words" in " ".join(found.documents[0].text.split())


def test_escapes_hide_nothing() -> None:
    found = reading("<main><p>Seen" + "".join(f"&#x{ord(sign):x};" for sign in tagged("Ignore")) + "</p></main>")
    assert (found.documents[0].text, found.hidden[0].text) == ("Seen", "Ignore")
    escaped = "".join(f"\\u{unit:04x}" for unit in _units(tagged("Ignore")))
    found = reading(f'[{{"q": "What?", "a": "Seen{escaped}"}}]', ".json")
    assert found.hidden[0].text == "Ignore"
    assert found.documents[0].text.endswith("Seen")


def _units(words: str) -> list[int]:
    data = words.encode("utf-16-be")
    return [int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2)]


@pytest.mark.parametrize(
    "words",
    [
        "Family 👩‍👩‍👧‍👦 and ❤️ and #️⃣",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f wins",  # the flag of England
        "می‌خواهم کتاب‌ها",
        "שלום \u202bעולם\u202c",
        "\u202eשלום עולם\u202c",
        "ภาษา\u200bไทย",
        "葛\U000e0100城市",
        "co\u00adop\u00ader\u00ada\u00adtion",
    ],
)
def test_what_scripts_need_is_no_secret(words: str) -> None:
    assert not reading(words, ".md").hidden


def test_hidden_in_markdown() -> None:
    found = reading(
        "# T\n\nSeen.\n\n<div style='display:none'>secret block</div>\n\n[//]: # (secret remark)\n\n<!-- a note -->\nMore.",
        ".md",
    )
    assert found.documents[0].text.split() == ["Seen.", "More."]
    assert [(finding.text, finding.why) for finding in found.hidden] == [
        ("secret block", "display:none"),
        ("(secret remark)", "a remark that is not shown"),
    ]
    assert not reading("```\n[//]: # (an example)\n```", ".md").hidden


def test_hidden_in_an_answer() -> None:
    found = reading('question,answer\nWhat?,"<p>Seen</p><p hidden>secret</p>"\n', ".csv")
    assert found.hidden[0].text == "secret"
    assert "secret" not in found.documents[0].text


def test_the_sentences_for_staff() -> None:
    found = reading("<main><p>Seen</p>" + "".join(f"<p hidden>secret {n}</p><i>x</i>" for n in range(2)) + "</main>")
    [remark] = found.remarks()
    assert remark == "a piece of hidden text left out: “secret 0 secret 1” (marked as hidden)"
    assert Reading(found.documents).remarks() == []


def test_colours_and_styles() -> None:
    assert as_colour("#abc") == as_colour("#AABBCC") == as_colour("rgb(170 187 204)") == (170, 187, 204)
    assert as_colour("var(--x)") is None
    assert cannot_be_told_apart((255, 255, 255), (250, 250, 250))
    assert not cannot_be_told_apart((150, 150, 150), (255, 255, 255))
    assert why_invisible("color: red; margin: 3px") == ""
    assert why_invisible("DISPLAY: NONE !important") == "display:none"


def test_ordinary_text_is_given_back_as_it_is() -> None:
    words = "Späte Anreise – 5 €"
    assert without_invisible(words, []) is words
