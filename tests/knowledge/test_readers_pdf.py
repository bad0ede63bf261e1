"""PDF files: what is on their pages as Markdown, what nobody sees, what cannot be read."""

from __future__ import annotations

import re
from datetime import date

import pytest

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import Reading, SourceFile
from knowledge.readers.pdf import MAX_PAGES, reader
from tests.knowledge.pdfs import IMAGE, Pdf, assembled, encrypted, paragraph, picture, stream, text

IMAGES = {"resources": "/XObject << /Im1 8 0 R >>", "extra": {8: IMAGE}}


def reading(file: Pdf | bytes, path: str = "guides/late_check-in.pdf") -> Reading:
    return reader.read(SourceFile(path, file if isinstance(file, bytes) else file.bytes()))


def read(*pages: str) -> Document:
    [document] = reading(Pdf(pages)).documents
    return document


def refusal(file: Pdf | bytes) -> str:
    with pytest.raises(ReaderError) as caught:
        reading(file)
    return caught.value.message


def test_headings_paragraphs_lists_and_code() -> None:
    page = "\n".join(
        [
            text("Late check-in", 72, 740, 24),
            text("When you arrive late", 72, 700, 16),
            paragraph(
                ["You may arrive until midnight. Tell us before you", "leave, so that some-", "body waits for you."],
                675,
            ),
            paragraph(["A second paragraph, after a gap."], 610),
            text("• Bring your passport", 80, 585),
            text("• Bring the card you paid with, the one whose last four", 80, 571),
            text("digits we have", 88, 557),
            text("1. Ring the bell", 80, 535),
            text("2. Wait", 80, 521),
            text("What it costs", 72, 490, 11, "F2"),
            text("It is free.", 72, 474),
            text("curl -X POST \\", 72, 450, 10, "F3"),
            text("    --data x=1", 72, 438, 10, "F3"),
        ]
    )
    document = read(page)
    assert document.title == "Late check-in"
    assert document.text == (
        "## When you arrive late\n\n"
        "You may arrive until midnight. Tell us before you leave, so that somebody waits for you.\n\n"
        "A second paragraph, after a gap.\n\n"
        "- Bring your passport\n\n"
        "- Bring the card you paid with, the one whose last four digits we have\n\n"
        "1. Ring the bell\n\n2. Wait\n\n"
        "### What it costs\n\nIt is free.\n\n"
        "```\ncurl -X POST \\\n    --data x=1\n```"
    )


def test_a_hyphen_stays_where_the_file_writes_the_word_with_it_elsewhere() -> None:
    page = paragraph(
        ["The check-in desk opens at nine. For a late check-", "in ring the bell, and the re-", "ceptionist comes."],
        700,
    )
    assert (
        read(page).text
        == "The check-in desk opens at nine. For a late check-in ring the bell, and the receptionist comes."
    )


def test_a_table_stays_a_table() -> None:
    rows = [("Days before", "Refund"), ("5 or more", "everything"), ("1 to 4", "half of it")]
    page = "\n".join(
        text(cell, 72 + 160 * column, 700 - 18 * row, 11, "F2" if row == 0 else "F1")
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    )
    below = text("Ask us when in doubt, we are glad to help.", 72, 600)
    words = read(f"{paragraph(['Refunds depend on the day.'], 740)}\n{page}\n{below}").text
    assert "| Days before | Refund |\n| --- | --- |\n| 5 or more | everything |\n| 1 to 4 | half of it |" in words


def test_cells_of_several_lines_stay_together() -> None:
    page = "\n".join(
        [
            text("Plan", 72, 700, 11, "F2") + text("What it is for", 200, 700, 11, "F2"),
            text("Small", 72, 676) + text("Shops with one", 200, 676),
            text("place", 200, 664),
            text("Large", 72, 640) + text("Chains", 200, 640),
        ]
    )
    assert "| Small | Shops with one place |\n| Large | Chains |" in read(page).text


def test_two_columns_are_read_one_after_the_other() -> None:
    left = [f"left line {number} goes on and on" for number in range(12)]
    right = [f"right line {number} goes on and on" for number in range(12)]
    # As many programs write them: row by row.
    page = "\n".join(
        text(one, 60, 700 - 14 * row) + text(other, 320, 697 - 14 * row)
        for row, (one, other) in enumerate(zip(left, right, strict=True))
    )
    words = read(f"{text('A title over both of the columns', 60, 740, 20)}\n{page}").text
    assert words.index("left line 11") < words.index("right line 0")


def test_headers_footers_and_page_numbers_stay_out() -> None:
    pages = [
        "\n".join(
            [
                text("Larkstay - house rules", 72, 770, 8),
                paragraph([f"Rule number {number} is about something of its own."], 600),
                text(f"Page {number} of 3", 280, 30, 8),
            ]
        )
        for number in range(1, 4)
    ]
    words = read(*pages).text
    assert "house rules" not in words
    assert "Page" not in words
    assert [int(number) for number in re.findall(r"number (\d)", words)] == [1, 2, 3]


def test_a_paragraph_goes_on_over_the_page() -> None:
    document = read(paragraph(["This sentence begins on one page and it"], 200), paragraph(["ends on the other."], 700))
    assert "begins on one page and it ends on the other." in document.text


def test_links_survive() -> None:
    annotation = (
        b"<< /Type /Annot /Subtype /Link /Rect [70 695 200 712] /A << /S /URI /URI (https://help.example.com/a) >> >>"
    )
    scripted = b"<< /Type /Annot /Subtype /Link /Rect [70 675 200 692] /A << /S /URI /URI (javascript:alert(1)) >> >>"
    page = f"{text('our refund page', 72, 700)}\n{text('a second line', 72, 680)}"
    file = Pdf([page], page_extra="/Annots [8 0 R 9 0 R]", extra={8: annotation, 9: scripted})
    [document] = reading(file).documents
    assert "[our refund page](https://help.example.com/a)" in document.text
    assert "javascript" not in document.text


def test_the_table_of_contents_tells_headings() -> None:
    page = f"{text('Opening hours', 72, 700)}\n{paragraph(['From nine to five on every day but Sunday.'], 680)}"
    outline = {
        7: b"<< /Type /Outlines /First 8 0 R /Last 8 0 R /Count 1 >>",
        8: b"<< /Title (Opening hours) /Parent 7 0 R /Dest [10 0 R /XYZ 72 700 0] >>",
    }
    [document] = reading(Pdf([page], root_extra="/Outlines 7 0 R", extra=outline)).documents
    assert document.title == "Opening hours"
    assert document.text == "From nine to five on every day but Sunday."


def test_what_the_file_says_about_itself() -> None:
    body = paragraph(["From nine to five."], 700)
    [document] = reading(Pdf([body], title="House rules", root_extra="/Lang (en-GB)")).documents
    assert (document.title, document.updated, document.language) == ("House rules", date(2026, 3, 1), "en-GB")
    [document] = reading(Pdf([body], title="Microsoft Word - rules_v2.doc")).documents
    assert document.title == "Late check in"
    assert (document.id, document.source) == ("guides/late_check-in", "guides/late_check-in.pdf")


def test_turned_pages_are_read_upright() -> None:
    turned = "BT /F1 11 Tf 0 1 -1 0 100 72 Tm (Turned to the side) Tj ET"
    [document] = reading(Pdf([turned], page_extra="/Rotate 90")).documents
    assert document.text == "Turned to the side"


def test_right_to_left_text_is_put_into_its_order() -> None:
    # Hebrew as it is seen, from left to right: the codes of the font are mapped to it.
    mapping = (
        b"/CIDInit begincmap 1 begincodespacerange <00> <ff> endcodespacerange 4 beginbfchar\n"
        + b"".join(f"<{code:02x}> <{ord(letter):04x}>\n".encode() for code, letter in zip(b"abcd", "םולש", strict=True))
        + b"endbfchar endcmap"
    )
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode 9 0 R >>"
    [document] = reading(Pdf([text("abcd", 72, 700)], extra={3: font, 9: stream(mapping)})).documents
    assert document.text == "שלום"


def test_marks_of_markdown_are_text() -> None:
    assert (
        read(paragraph(["Type *yes* and <b> in the [box](x)."], 700)).text == r"Type \*yes\* and \<b> in the [box\](x)."
    )


HIDDEN = {
    "invisible text": "3 Tr {} 0 Tr",
    "white on white": "1 1 1 rg {} 0 g",
    "too small to be read": "{tiny}",
    "outside of the page": "{outside}",
    "transparent text": "q /GS1 gs {} Q",
    "text of the colour behind it": "0.1 0.2 0.5 rg 50 590 400 40 re f {} 0 g",
    "covered by a box or a picture": "{} 0 g 60 590 400 40 re f",
    "on a layer that is switched off": "/OC /L1 BDC {} EMC",
}


@pytest.mark.parametrize("why", sorted(HIDDEN))
def test_what_nobody_sees_is_shown_to_staff_and_not_read(why: str) -> None:
    secret = "secret words for machines"
    drawn = (
        HIDDEN[why]
        .replace("{tiny}", text(secret, 72, 600, 0.5))
        .replace("{outside}", text(secret, 700, 600))
        .replace("{}", text(secret, 72, 600))
    )
    file = Pdf(
        [f"{drawn}\n{paragraph(['What everybody sees.'], 700)}"],
        resources="/ExtGState << /GS1 << /ca 0.01 >> >> /Properties << /L1 8 0 R >>",
        root_extra="/OCProperties << /OCGs [8 0 R] /D << /OFF [8 0 R] >> >>",
        extra={8: b"<< /Type /OCG /Name (L) >>"},
    )
    found = reading(file)
    [document] = found.documents
    assert document.text == "What everybody sees."
    [hidden] = found.hidden
    assert (hidden.text, hidden.why) == (secret, why)


def test_text_hidden_in_a_form_is_hidden_too() -> None:
    form = stream(
        f"3 Tr {text('secret words', 72, 600)}".encode(),
        "/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>",
    )
    shown = stream(text("Words on a form.", 72, 640).encode(), "/Type /XObject /Subtype /Form /BBox [0 0 612 792]")
    file = Pdf(["/Fm1 Do /Fm2 Do"], resources="/XObject << /Fm1 8 0 R /Fm2 9 0 R >>", extra={8: form, 9: shown})
    found = reading(file)
    assert found.documents[0].text == "Words on a form."
    assert [hidden.why for hidden in found.hidden] == ["invisible text"]


def test_white_text_on_a_dark_bar_is_seen() -> None:
    bar = f"0.1 0.1 0.4 rg 60 590 400 40 re f 1 1 1 rg {text('Fees and refunds', 72, 600)} 0 g"
    found = reading(Pdf([f"{bar}\n{paragraph(['What everybody sees.'], 500)}"]))
    assert "Fees and refunds" in found.documents[0].text
    assert not found.hidden


def test_marker_and_tints_do_not_cover_text() -> None:
    marked = f"{text('Marked words', 72, 600)} /GS1 gs 1 1 0 rg 60 590 400 40 re f"
    found = reading(Pdf([marked], resources="/ExtGState << /GS1 << /BM /Multiply >> >>"))
    assert (found.documents[0].text, found.hidden) == ("Marked words", ())


def test_text_over_a_picture_is_seen() -> None:
    found = reading(Pdf([f"{picture()} 1 1 1 rg {text('White on a photograph', 72, 600)}"], **IMAGES))  # type: ignore[arg-type]
    assert (found.documents[0].text, found.hidden) == ("White on a photograph", ())


def test_a_scan_has_no_text() -> None:
    assert refusal(Pdf([picture(), picture()], **IMAGES)).startswith("no text found: its pages are pictures (a scan?)")  # type: ignore[arg-type]
    layered = Pdf([f"3 Tr {text('recognised words', 72, 600)} {picture()}"], **IMAGES)  # type: ignore[arg-type]
    assert refusal(layered).startswith("no text found that can be seen: its pages are pictures with an invisible layer")


def test_pages_that_are_pictures_are_named() -> None:
    found = reading(Pdf([paragraph(["Words."], 700), picture(), paragraph(["More words."], 700)], **IMAGES))  # type: ignore[arg-type]
    assert found.notes == ("no text found on page 2: a picture fills it",)


def test_files_that_cannot_be_read_say_why() -> None:
    whole = Pdf([paragraph([f"Line {number} of a page."], 700) for number in range(20)]).bytes()
    assert "save a copy without" in refusal(encrypted("secret"))
    assert "cut off" in refusal(whole[: len(whole) // 2])
    assert "cut off" in refusal(b"%PDF-1.7\n")
    assert "damaged" in refusal(b"%PDF-1.7\nnothing in here\n%%EOF")
    assert refusal(Pdf([""])) == "no text found"
    assert "no pages" in refusal(
        assembled({1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Kids [] /Count 0 >>"}, "/Root 1 0 R")
    )


def test_a_file_that_only_its_owner_may_change_is_read() -> None:
    assert "five days" in reading(encrypted("")).documents[0].text


def test_a_file_of_50_000_pages_is_refused_by_its_count() -> None:
    assert (
        refusal(Pdf(["", ""], count=50_000))
        == f"it has 50,000 pages, more than the {MAX_PAGES:,} that are read; split it"
    )


def test_a_form_that_draws_itself_is_drawn_once() -> None:
    loop = stream(
        f"{text('Once.', 72, 600)} /Fm1 Do".encode(),
        "/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << /Fm1 8 0 R >> /Font << /F1 3 0 R >> >>",
    )
    assert (
        reading(Pdf(["/Fm1 Do"], resources="/XObject << /Fm1 8 0 R >>", extra={8: loop})).documents[0].text == "Once."
    )


def test_packed_pages_are_unpacked() -> None:
    assert reading(Pdf([paragraph(["Small on disk."], 700)], packed=True)).documents[0].text == "Small on disk."
