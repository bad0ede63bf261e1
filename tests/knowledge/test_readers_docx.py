"""Word documents: what can be seen in them as Markdown, what cannot, and what is refused."""

from __future__ import annotations

from datetime import date

import pytest

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import Reading, SourceFile
from knowledge.readers.docx import reader
from tests.knowledge.docxs import W, docx, item, paragraph, run, table


def reading(content: bytes, path: str = "guides/late_check-in.docx") -> Reading:
    return reader.read(SourceFile(path, content))


def read(*blocks: str) -> Document:
    [document] = reading(docx(*blocks)).documents
    return document


def test_headings_lists_tables_links_and_code() -> None:
    courier = '<w:rFonts w:ascii="Courier New"/>'
    content = docx(
        paragraph("Late check-in", style="Title"),
        paragraph("When you arrive late", style="Heading1"),
        paragraph("You may arrive until ", run("midnight", "<w:b/>"), "."),
        paragraph(
            "See ",
            f'<w:hyperlink xmlns:r="{"x"}" r:id="l1">{run("our page")}</w:hyperlink>'.replace(' xmlns:r="x"', ""),
        ),
        item("Bring your passport", 1),
        item("Bring your card", 1),
        item("Ring the bell", 2),
        item("Wait", 2),
        paragraph("Fees", style="Heading2"),
        table(("Days before", "Refund"), ("5 or more", "everything"), ("0", "nothing")),
        paragraph(run("curl -X POST \\", courier)),
        paragraph(run("    --data x=1", courier)),
        paragraph("Type ", run("jq", courier), " here."),
        links={"l1": "https://help.example.com/late"},
    )
    [document] = reading(content).documents
    assert document.title == "Late check-in"
    assert document.text == (
        "# When you arrive late\n\nYou may arrive until **midnight**.\n\nSee [our page](https://help.example.com/late)\n\n"
        "- Bring your passport\n- Bring your card\n\n1. Ring the bell\n2. Wait\n\n## Fees\n\n"
        "| Days before | Refund |\n| --- | --- |\n| 5 or more | everything |\n| 0 | nothing |\n\n"
        "```\ncurl -X POST \\\n    --data x=1\n```\n\nType `jq` here."
    )


def test_what_the_file_says_about_itself() -> None:
    [document] = reading(docx(paragraph("From nine to five."), title="Opening hours")).documents
    assert (document.title, document.updated) == ("Opening hours", date(2026, 3, 1))
    assert read(paragraph("From nine to five.")).title == "Late check in"


WHITE = '<w:color w:val="FFFFFF"/>'


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ("<w:vanish/>", "marked as hidden"),
        ('<w:rStyle w:val="Ghost"/>', "marked as hidden"),
        ('<w:rStyle w:val="Ghost2"/>', "marked as hidden"),
        (WHITE, "white on white"),
        ('<w:color w:val="FEFEFE"/>', "white on white"),
        ('<w:color w:val="auto" w:themeColor="background1"/>', "white on white"),
        ('<w:sz w:val="2"/>', "too small to be read"),
        ('<w:color w:val="FFFF00"/><w:highlight w:val="yellow"/>', "text of the colour behind it"),
    ],
)
def test_what_nobody_sees_is_shown_to_staff_and_not_read(look: str, why: str) -> None:
    found = reading(docx(paragraph("What everybody sees. ", run("secret words", look), run("and more", look))))
    assert found.documents[0].text == "What everybody sees."
    [hidden] = found.hidden
    assert (hidden.text.replace(" ", ""), hidden.why) == ("secretwordsandmore", why)


def test_hidden_rows_are_hidden() -> None:
    row = "<w:tr><w:trPr><w:hidden/></w:trPr><w:tc><w:p><w:r><w:t>secret row</w:t></w:r></w:p></w:tc></w:tr>"
    found = reading(docx(table(("a", "b"), ("c", "d")).replace("</w:tbl>", f"{row}</w:tbl>")))
    assert "secret" not in found.documents[0].text
    assert found.hidden[0].text == "secret row"


@pytest.mark.parametrize(
    "block",
    [
        paragraph(run("Fees and refunds", f'{WHITE}<w:shd w:val="clear" w:fill="1F3864"/>')),
        paragraph(run("Fees and refunds", WHITE), properties='<w:shd w:val="clear" w:fill="1F3864"/>'),
        table((paragraph(run("Fees and refunds", WHITE)), "b"), style="Dark"),
        table((paragraph(run("Fees and refunds", WHITE)), "b")).replace(
            "<w:tc>", '<w:tc><w:tcPr><w:shd w:val="clear" w:fill="1F3864"/></w:tcPr>'
        ),
        paragraph(run("Fees and refunds", '<w:vanish w:val="0"/>')),
        paragraph(run("Fees and refunds", '<w:rStyle w:val="Ghost"/><w:vanish w:val="false"/>')),
    ],
)
def test_what_can_be_seen_stays(block: str) -> None:
    found = reading(docx(block))
    assert "Fees and refunds" in found.documents[0].text
    assert not found.hidden


def test_footnotes_stand_at_the_end() -> None:
    notes = (
        f'<w:footnotes xmlns:w="{W}"><w:footnote w:id="2">{paragraph("Not on holidays.")}</w:footnote></w:footnotes>'
    )
    mark = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    content = docx(paragraph("Open all day.", mark), more={"word/footnotes.xml": notes.encode()})
    words = reading(content).documents[0].text
    assert words.index("Open all day.") < words.index("Not on holidays.")


def test_deletions_comments_and_headers_stay_out() -> None:
    deleted = (
        '<w:p><w:del w:id="1"><w:r><w:delText>Old words</w:delText></w:r></w:del><w:r><w:t>New words</w:t></w:r></w:p>'
    )
    header = b'<w:hdr xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:p><w:r><w:t>Header</w:t></w:r></w:p></w:hdr>'
    assert reading(docx(deleted, more={"word/header1.xml": header})).documents[0].text == "New words"


def refusal(content: bytes) -> str:
    with pytest.raises(ReaderError) as caught:
        reading(content)
    return caught.value.message


def test_files_that_cannot_be_read_say_why() -> None:
    whole = docx(paragraph("Words."))
    assert refusal(docx(paragraph(""))) == "no text found: it is empty, or holds pictures only"
    assert "damaged" in refusal(whole[: len(whole) // 2])
    assert "damaged" in refusal(docx(paragraph("Words."), more={"word/document.xml": b"<w:document><broken"}))
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'
    assert "declares entities" in refusal(docx(paragraph("Words."), more={"word/document.xml": bomb}))
    wide = bomb.decode().encode("utf-16")
    assert "declares entities" in refusal(docx(paragraph("Words."), more={"word/document.xml": wide}))


def test_a_file_cannot_say_how_it_is_read_nor_reach_outside() -> None:
    mapping = b"p => a[href='https://evil.example.com']"
    found = reading(docx(paragraph("Words."), more={"mammoth/style-map": mapping}))
    assert found.documents[0].text == "Words."
    outside = (
        '<w:p><w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">'
        '<a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData><pic:pic '
        'xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:blipFill><a:blip r:link="l1"/>'
        "</pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
    found = reading(docx(outside, paragraph("Words."), links={"l1": "file:///etc/passwd"}))
    assert found.documents[0].text == "Words."
