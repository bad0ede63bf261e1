"""Markdown files: titles, what is hidden in them, and code that nobody touches."""

from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import SourceFile
from knowledge.readers.markdown import reader
from knowledge.readers.markdown_text import below, plain, tidy


def read(text: str | bytes, path: str = "guides/late_check-in.md") -> Document:
    [document] = reader.read(SourceFile(path, text if isinstance(text, bytes) else text.encode())).documents
    return document


def test_front_matter_and_text() -> None:
    document = read(
        "---\nid: late\ntitle: Arriving late\nurl: https://help.example.com/late\naudience: Internal\nlanguage: en\n"
        "updated: 2025-01-31\nreview_by: 2025-07-31\ntags: [arrival]\n---\n\nCall *us*.\n\n## Phone\n\n1. Dial.\n"
    )
    assert document == Document(
        id="late",
        title="Arriving late",
        text="Call *us*.\n\n## Phone\n\n1. Dial.",
        source="guides/late_check-in.md",
        url="https://help.example.com/late",
        audience="internal",
        language="en",
        updated=date(2025, 1, 31),
        review_by=date(2025, 7, 31),
        tags=("arrival",),
    )


def test_defaults() -> None:
    assert read("Call us.") == Document("guides/late_check-in", "Late check in", "Call us.", "guides/late_check-in.md")


@pytest.mark.parametrize(
    ("written", "title", "text"),
    [
        ("# Arriving late\n\nCall us.", "Arriving late", "Call us."),
        ("\n\n# Arriving late #\nCall us.", "Arriving late", "Call us."),
        ("Arriving late\n=============\n\nCall us.", "Arriving late", "Call us."),
        ("# Arriving *late* in `code` [x](y) {#late}\n\nCall us.", "Arriving late in code x", "Call us."),
        ("# A \\* and snake_case and C#\n\nCall us.", "A * and snake_case and C#", "Call us."),
        ("Intro.\n\n# Arriving late\n\nCall us.", "Arriving late", "Intro.\n\n# Arriving late\n\nCall us."),
        ("Intro.\n\nArriving late\n====\n\nCall us.", "Arriving late", "Intro.\n\nArriving late\n====\n\nCall us."),
        ("## Only second\n\nCall us.", "Late check in", "## Only second\n\nCall us."),
        ("#\n\n# \n\nCall us.", "Late check in", "#\n\n# \n\nCall us."),
        ("#hashtag\n\nCall us.", "Late check in", "#hashtag\n\nCall us."),
        ("```sh\n# not a title\n```\n\n# A title\n", "A title", "```sh\n# not a title\n```\n\n# A title"),
        ("# One\n\n# Two\n\nCall us.", "One", "# Two\n\nCall us."),
        ("---\ntitle: Same\n---\n# Same\n\nCall us.", "Same", "Call us."),
        ("---\ntitle: Other\n---\n# Same\n\nCall us.", "Other", "# Same\n\nCall us."),
        ("<!-- licence -->\n# Title\n\nCall us.", "Title", "Call us."),
        ("# " + "long " * 100 + "\n\nCall us.", "Late check in", "# " + "long " * 100 + "\n\nCall us."),
    ],
)
def test_the_title(written: str, title: str, text: str) -> None:
    document = read(written)
    assert (document.title, document.text) == (title, text)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a <!-- secret --> b", "a  b"),
        ("a\n<!-- secret\n\nmore -->\nb", "a\nb"),
        ("a <!--> b --> c <!---> d", "a  b --> c  d"),
        ("a\n\n<!-- never closed\n\n```\nb\n```", "a\n\n"),
        ("a <!-- not a comment", "a <!-- not a comment"),
        ("a <script>alert('x')</script> b", "a  b"),
        ("a\n<STYLE media=x>\np {}\n</STYLE >\nb", "a\nb"),
        ("a <template><p>x</p></template><noscript>y</noscript> b", "a  b"),
        ("a\n<script>\nrest", "a\n"),
        ("a <div hidden>secret <div>deep</div> more</div> b", "a  b"),
        ('a <span style="color: red; display : none">secret</span> b', "a  b"),
        ("a <b aria-hidden='true'>secret</b><input type=hidden value=x> b", "a  b"),
        ("a\n<p hidden>secret\n\nshown", "a\n\nshown"),
        ("<div hidden>\n\nsecret", ""),
        (
            '<p style="opacity: 0.5">half <b data-hidden="x">seen</b></p>',
            '<p style="opacity: 0.5">half <b data-hidden="x">seen</b></p>',
        ),
        ("<details><summary>More</summary>text</details>", "<details><summary>More</summary>text</details>"),
        ("![A plan](plan.png)", "A plan"),
        ('![A [plan]](<pl an.png> "Title (1)") ![](x) ![b\\]c](d(e)f)', "A [plan]  b\\]c"),
        ("[![Badge](b.svg)](https://x.test)", "[Badge](https://x.test)"),
        ("![A][plan] ![Plan][] ![plan] ![other]\n\n[plan]: p.png", "A Plan plan ![other]\n\n[plan]: p.png"),
        ('<img src="p.png" alt="A plan"> <img src=x>', "A plan "),
        ("Wow! [link](x) and \\![not an image](x)", "Wow! [link](x) and \\![not an image](x)"),
        ("![unclosed](x and ![so", "![unclosed](x and ![so"),
        ("<https://example.com> 1 < 2 > 0 <b>bold</b>", "<https://example.com> 1 < 2 > 0 <b>bold</b>"),
    ],
)
def test_what_is_hidden_goes(written: str, expected: str) -> None:
    assert tidy(written) == expected


@pytest.mark.parametrize(
    "code",
    [
        "```html\n<!-- kept --> <script>x</script> ![a](b) <div hidden>c</div>\n```",
        "~~~\n<!-- kept -->\n```\n~~~",
        "````md\n```\n<!-- kept -->\n```\n````",
        "- item\n\n  ```\n  ![a](b)\n  ```\n- next",
        "1. ```\n   <!-- kept -->\n   ```",
        "> ```\n> ![a](b)\n> ```",
        "`<!-- kept -->` and `` ![a](`b`) ``",
        "`two\nlines <!-- kept -->`",
        "```\nnever closed ![a](b)\n<!-- kept -->",
        "    \n```python   \nimport x\n```",
    ],
)
def test_code_is_not_altered(code: str) -> None:
    assert tidy(code) == code
    assert tidy(f"a <!-- b -->\n\n{code}").endswith(code)


def test_code_ends_where_it_ends() -> None:
    assert tidy("> ```\n> ![a](b)\n\n![c](d)") == "> ```\n> ![a](b)\n\nc"
    assert tidy("```\n![a](b)\n```\n![c](d)") == "```\n![a](b)\n```\nc"
    assert tidy("``` not `a` fence ![c](d)") == "``` not `a` fence c"
    assert tidy("`open\n\n![c](d) `") == "`open\n\nc `"


def test_imports_of_mdx_go_from_the_top_only() -> None:
    document = read(
        "---\ntitle: T\n---\n\nimport Tabs from '@theme/Tabs';\nimport {\n  A,\n  B\n} from \"./parts\"\nimport './x.css'\n"
        "export const year = 2025;\n\nText.\n\nimport duties from 'China' are not code\n\nimport x from 'y'"
    )
    assert document.text == "Text.\n\nimport duties from 'China' are not code\n\nimport x from 'y'"
    assert read("import duties are due from 'China'.").text == "import duties are due from 'China'."


def test_excel_is_not_the_only_one_with_legacy_text() -> None:
    assert read("# Gebühren\n\nEin Café kostet 5 €.".encode("cp1252")).text == "Ein Café kostet 5 €."


@pytest.mark.parametrize(
    "written", ["", "\n \n", "# Only a title\n", "---\nid: a\n---\n", "<!-- nothing -->", "---\n\n***\n", "![](x.png)"]
)
def test_no_text(written: str) -> None:
    with pytest.raises(ReaderError, match=r"^it has no text$"):
        read(written)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0", b"\x7fELF\x02", b"PK\x03\x04\x14\0", b"a\0b"])
def test_binary_content_under_a_markdown_name_is_refused(content: bytes) -> None:
    with pytest.raises(ReaderError, match=r"^this is not a text file"):
        read(content)


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# A\n\n## B #\n\n###### C", "### A\n\n#### B #\n\n###### C"),
        ("A\n===\n\nB\n---\n\ntext", "### A\n\n#### B\n\ntext"),
        ("```\n# code\n```\n#", "```\n# code\n```\n###"),
        ("text\n\n---\n\n- a\n---", "text\n\n---\n\n- a\n---"),
    ],
)
def test_headings_go_below_another(markdown: str, expected: str) -> None:
    assert below(markdown, 2) == expected


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("**bold** _em_ ~~del~~ `code` ``a`b``", "bold em del code a`b"),
        ("2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c"),
        ("[link](x) ![img](y) [ref][z]", "link img ref"),
        ("<b>tag</b> \\# kept", "tag # kept"),
    ],
)
def test_a_title_reads_plainly(markdown: str, expected: str) -> None:
    assert plain(markdown) == expected


LONG = {
    "backticks": "`a ``b ```c " * 20_000,
    "runs of backticks": "".join("`" * length + " " for length in range(1, 1000)),
    "comments": "x <!-- " * 33_000,
    "scripts": "x <script> " * 26_000,
    "images": "![" * 66_000,
    "image titles": '![a](b "' * 26_000,
    "tags": "<a " * 66_000,
    "hidden": "x <p hidden>" * 16_000,
    "spaces": " " * 166_000 + "#" + " " * 166_000,
    "hashes": ("#" + " " * 1000) * 500,
    "fences": "```\n" * 33_000,
    "emphasis": "# " + "*a" * 33_000,
    "imports": "import a " * 26_000,
    "setext": "a\n\n" * 33_000,
    "quotes": "> " * 66_000,
    "brackets": "# " + "[a](" * 16_000,
    "newlines": "\n" * 166_000,
}


@pytest.mark.parametrize("name", list(LONG))
def test_no_text_makes_it_slow(name: str) -> None:
    start = time.process_time()
    for operation in (tidy, lambda text: below(text, 2), lambda text: read(text + "\n\nend").text):
        operation(LONG[name])
    assert time.process_time() - start < 4


MARKS = st.sampled_from(
    [
        "```",
        "`",
        "``",
        "~~~",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "![",
        "](",
        ")",
        "<div hidden>",
        "</div>",
        "# ",
        "\n",
        "\n\n",
        "> ",
        "- ",
        "a",
        " ",
        "\\",
        "===",
    ]
)


@settings(deadline=None, max_examples=120)
@given(st.lists(MARKS, max_size=40).map("".join))
def test_tidying_is_final_and_below_keeps_the_words(text: str) -> None:
    tidied = tidy(text)
    assert len(tidied) <= len(text)
    assert below(text, 2).count("a") == text.count("a")
    assert below(text, 2).count("`") == text.count("`")
