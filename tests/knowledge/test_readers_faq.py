"""Tables of questions and answers: the rule of ids, and the many ways such tables are written."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.documents import Document
from knowledge.errors import ReaderError
from knowledge.readers import SourceFile
from knowledge.readers.encoding import clean
from knowledge.readers.faq import reader


def read(content: str | bytes, name: str = "csv") -> list[Document]:
    data = content if isinstance(content, bytes) else content.encode()
    return list(reader.read(SourceFile(f"desk/late_check-in.{name}", data)).documents)


def read_json(value: object) -> list[Document]:
    return read(json.dumps(value), "json")


def shared(text: str, *, suffix: str = "csv", tags: Sequence[str] = ()) -> Document:
    return Document("desk/late_check-in", "Late check in", text, f"desk/late_check-in.{suffix}", tags=tuple(tags))


AB = "## How late?\n\nUntil ten.\n\n## And then?\n\nCall us."


@pytest.mark.parametrize(
    "table",
    [
        "question,answer\nHow late?,Until ten.\nAnd then?,Call us.\n",
        "Question;Answer\r\nHow late?;Until ten.\r\nAnd then?;Call us.\r\n",
        "q\ta\nHow late?\tUntil ten.\nAnd then?\tCall us.",
        " Title | BODY \nHow late?|Until ten.\n\nAnd then?|Call us.",
        '"answer","question"\n"Until ten.","How late?"\n"Call us.","And then?"\n',
        "sep=;\nquestion;answer\nHow late?;Until ten.\nAnd then?;Call us.",
        "\n\nquestion,answer,\nHow late?,Until ten.,\n,,\nAnd then?,Call us.,\n",
        "nr,heading,content,note\n1,How late?,Until ten.,x\n2,And then?,Call us.\n",
        "question,answer\rHow late?,Until ten.\rAnd then?,Call us.\r",
        "subject,response,id,url,audience,updated\nHow late?,Until ten.,,,,\nAnd then?,Call us., ,,,\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ways_of_writing_a_table(table: str, encoding: str) -> None:
    assert read(table.encode(encoding)) == [shared(AB)]


def test_the_endings() -> None:
    assert read("question\tanswer\nHow late?\tUntil ten.\nAnd then?\tCall us.", "tsv") == [shared(AB, suffix="tsv")]
    assert read('{"q": "How late?", "a": "Until ten."}\n\n{"Q": "And then?", "A": "Call us."}', "ndjson") == [
        shared(AB, suffix="ndjson")
    ]


def test_a_table_from_excel() -> None:
    table = 'Frage-Nr;Question;Answer\r\n1;"Wie viel?";"Ein Café kostet\n5 €; früh 4 €."\r\n'
    assert read(table.encode("cp1252")) == [shared("## Wie viel?\n\nEin Café kostet\n5 €; früh 4 €.")]


def test_quotes_within_quotes_and_separators_within_text() -> None:
    table = 'question,answer\n"He said ""hi"", why?","a, b; c | d\n\n- e"\nWhat is 5"?,A size\n'
    assert read(table) == [shared('## He said "hi", why?\n\na, b; c | d\n\n- e\n\n## What is 5"?\n\nA size')]


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")) | st.sampled_from('\n\t",;|'), max_size=30)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_any_table_that_csv_writes_is_read(pairs: list[tuple[str, str]]) -> None:
    pairs = [(f"Q{question}", f"A{answer}`") for question, answer in pairs]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("question", "answer"), *pairs])
    [document] = read(buffer.getvalue())
    for question, _ in pairs:
        assert "## " + " ".join(clean(question).split()) in document.text


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("How late?,Until ten.\nAnd then?,Call us.", 'call one "question" and one "answer"'),
        ("Just a line of text", 'call one "question" and one "answer"'),
        ("question,reply\nHow late?,Until ten.", "names no column for the answer: call it one of answer, a, text"),
        ("wording,answer\nHow late?,Until ten.", "names no column for the question: call it one of question, q, title"),
        ("question,answer\nHow late?,Until ten.\n\nAnd then?,", "row 4 has a question but no answer"),
        ("question,answer\n,Until ten.", "row 2 has an answer but no question"),
        ("question,answer,id\n,,7", "row 2 has neither an answer nor a question"),
        ("question,answer\nHow late?,Until ten, or so.", "row 2 has 3 cells, but the first row names only 2"),
        (
            'question,answer\nHow late?,Ten.\nThen?,"Call us.\nWhere?,Here.',
            "row 3 opens a quotation mark that is never closed",
        ),
        ("question,answer,updated\nHow late?,Ten.,soon", "row 2: updated must be a date"),
        ("question,answer,url\nHow late?,Ten.,nowhere", "row 2: url must be a web address"),
        ("question,answer,audience\nHow late?,Ten.,a, b", "row 2 has 4 cells"),
        ('question,answer,audience\nHow late?,Ten.,"a, b"', "row 2: audience must be one name"),
        ("question,answer,id\nA?,a,1\nB?,b,1", "row 2 and row 3 have the same id, '1'"),
        ("question,answer,id\nA?,a,\nB?,b,desk/late_check-in", "the rest of the file and row 3 have the same id"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_row(table: str, problem: str) -> None:
    with pytest.raises(ReaderError) as caught:
        read(table)
    assert problem in caught.value.message


def test_a_very_long_cell_is_read() -> None:
    [document] = read(f'question,answer\nLong?,"{"word " * 100_000}"')
    assert len(document.text) > 400_000


def test_a_row_with_fields_of_its_own_is_a_document_of_its_own() -> None:
    documents = read(
        "question,answer,id,url,audience,language,updated,review_by,tags,category\n"
        "How late?,Until ten.,,,,,,,arrival,Arriving\n"
        "Where is the key?,Secret.,,,Internal,,,,,\n"
        "Where is the key?,Still secret.,,,internal,,,,,\n"
        "Wie spät?,Bis zehn.,,,,de,,,,\n"
        'Parking?,Yes.,00123,https://a.test/p,,,2025-01-31,2025-06-30,"car, arrival",Cars\n'
        "And then?,Call us.,,,,,,,,\n"
    )
    source = "desk/late_check-in.csv"
    assert documents == [
        shared(AB, tags=["arrival", "Arriving"]),
        Document("desk/late_check-in#where-is-the-key", "Where is the key?", "Secret.", source, audience="internal"),
        Document(
            "desk/late_check-in#where-is-the-key-2", "Where is the key?", "Still secret.", source, audience="internal"
        ),
        Document("desk/late_check-in#wie-spät", "Wie spät?", "Bis zehn.", source, language="de"),
        Document(
            "00123",
            "Parking?",
            "Yes.",
            source,
            url="https://a.test/p",
            updated=date(2025, 1, 31),
            review_by=date(2025, 6, 30),
            tags=("car", "arrival", "Cars"),
        ),
    ]


def test_a_title_beside_a_question() -> None:
    [document] = read("id,title,question,answer\n7,Arriving,How late?,# Big\n")
    assert (document.id, document.title, document.text) == ("7", "Arriving", "## How late?\n\n### Big")
    assert read("title,question,answer\nArriving,How late?,Ten.") == [shared("## How late?\n\nTen.")]


@pytest.mark.parametrize("question", ["???!", "😀 ?"])
def test_a_question_without_letters(question: str) -> None:
    table = f"question,answer,audience\n{question},Yes.,internal"
    if question == "???!":
        with pytest.raises(ReaderError, match="row 2 has an answer but no question"):
            read(table)
    else:
        assert read(table)[0].id == "desk/late_check-in#row"


def test_duplicate_questions_are_fine() -> None:
    assert read("question,answer\nA?,One.\nA?,Two.")[0].text == "## A?\n\nOne.\n\n## A?\n\nTwo."


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("=HYPERLINK(1)", "=HYPERLINK(1)"),
        ("+49 30 1234 @ -5", "+49 30 1234 @ -5"),
        ("<p>Until <b>ten</b>.</p><ul><li>a</li><li>b</li></ul>", "Until **ten**.\n\n- a\n- b"),
        ("Until <b>ten</b>.<script>x</script>", "Until **ten**."),
        ("Until ten.<br>Or <br/>later.", "Until ten.  \nOr   \nlater."),
        ("Less < more > less", "Less < more > less"),
        ("**Ten** <b>o'clock</b>", "**Ten** <b>o'clock</b>"),
        ("Write `<b>x</b>`", "Write `<b>x</b>`"),
        ("Ten <!-- secret -->![plan](p.png)", "Ten plan"),
        ("# Ten\n\n## Eleven", "### Ten\n\n#### Eleven"),
        ("a\u200bb\u202ec", "abc"),
    ],
)
def test_answers(answer: str, text: str) -> None:
    assert read_json([{"question": "How late?", "answer": answer}])[0].text == f"## How late?\n\n{text}"


QA = [{"question": "How late?", "answer": "Until ten."}, {"Question": "And then?", "ANSWER": "Call us."}]


@pytest.mark.parametrize(
    "value",
    [
        QA,
        {"faqs": QA},
        {"items": QA, "version": 2},
        {"anything": QA, "notes": ["a", "b"]},
        {"data": QA, "authors": [{"name": "x"}]},
        {"faqs": QA, "more": []},
        {"How late?": "Until ten.", "And then?": "Call us."},
        [
            {"q": "How late?", "a": ["Until ten."]},
            {},
            {"name": "And then?", "text": "Call us.", "extra": {"a": [1]}},
            {"q": " "},
        ],
        {
            "@context": "https://schema.org",
            "@type": "FAQPage",
            "mainEntity": [
                {
                    "@type": "Question",
                    "name": "How late?",
                    "acceptedAnswer": {"@type": "Answer", "text": "<p>Until ten.</p>"},
                },
                {"@type": "Question", "name": "And then?", "acceptedAnswer": {"@type": "Answer", "text": "Call us."}},
            ],
        },
    ],
)
def test_ways_of_writing_json(value: object) -> None:
    assert read_json(value) == [shared(AB, suffix="json")]


def test_a_single_object() -> None:
    assert read_json({"question": "How late?", "answer": "Until ten."}) == [
        shared("## How late?\n\nUntil ten.", suffix="json")
    ]


def test_documents_as_json_lines() -> None:
    lines = [
        {"id": "a/1", "title": "One", "text": "# One\n\n## Part\n\nText \u2028 here.", "tags": ["x"]},
        {"id": 7, "title": "Two 😀", "text": "Only text."},
        {"id": "c", "title": "Three", "text": "# Three"},
    ]
    documents = read("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "jsonl")
    source = "desk/late_check-in.jsonl"
    assert documents == [
        Document("a/1", "One", "## Part\n\nText \n here.", source, tags=("x",)),
        Document("7", "Two 😀", "Only text.", source),
        Document("c", "Three", "# Three", source),
    ]


def test_numbers_stay_as_they_were_written() -> None:
    content = '[{"id": 1.50, "question": 007.0, "answer": 1e400}]'.replace("007.0", "7.0")
    [document] = read(content, "json")
    assert (document.id, document.title, document.text) == ("1.50", "7.0", "1e400")
    assert read('[{"id": ' + "9" * 400 + ', "q": "a", "a": "b"}]', "json")[0].id == "9" * 400


def test_what_holds_for_the_file_holds_for_its_rows() -> None:
    documents = read_json(
        {
            "audience": "Internal",
            "language": "en",
            "title": "Keys",
            "tags": ["keys"],
            "faqs": [
                *QA,
                {"q": "Spare?", "a": "Yes.", "id": "spare", "tags": "x"},
                {"q": "Open?", "a": "Yes.", "audience": "public"},
            ],
        }
    )
    source = "desk/late_check-in.json"
    assert documents == [
        Document("desk/late_check-in", "Keys", AB, source, audience="internal", language="en", tags=("keys",)),
        Document("spare", "Spare?", "Yes.", source, audience="internal", language="en", tags=("keys", "x")),
        Document("desk/late_check-in#open", "Open?", "Yes.", source, audience="public", language="en", tags=("keys",)),
    ]
    [flat] = read_json({"audience": "internal", "How late?": "Until ten."})
    assert (flat.audience, flat.text) == ("internal", "## How late?\n\nUntil ten.")


@pytest.mark.parametrize(
    ("content", "suffix", "problem"),
    [
        ('[{"question": "a",\n "answer": }]', "json", "line 2 is not JSON: Expecting value at column 12"),
        (
            '{"q": "a", "a": "b"}\n{"q": "a" "a": "b"}',
            "jsonl",
            "line 2 is not JSON: Expecting ',' delimiter at column 11",
        ),
        ('{"q": "a", "a": "b"}\n["q"]', "jsonl", "line 2 is not a JSON object"),
        ('{"q": "a", "a": "b"}\n{"q": "c"}', "jsonl", "line 2 has a question but no answer"),
        ('[{"q": "a", "a": "b"}, 3]', "json", "entry 2 is not an object"),
        ('[{"q": "a", "a": "b"}, {"a": "b"}]', "json", "entry 2 has an answer but no question"),
        ('[{"q": "a", "a": {"b": 1}}]', "json", "entry 1 has a question but no answer"),
        ('[{"q": "a", "a": [{"b": 1}]}]', "json", "entry 1: the answer must be text"),
        ('[{"q": "a", "a": true}]', "json", "entry 1: the answer must be text"),
        ('[{"q": "a", "a": "b", "audience": ["x"]}]', "json", "entry 1: audience must be one name"),
        ('{"updated": "soon", "faqs": [{"q": "a", "a": "b"}]}', "json", "the file: updated must be a date"),
        ("3", "json", "a list of objects with a"),
        ('{"a": {"b": "c"}}', "json", "a list of objects with a"),
        ('{"x": [{"q": "a"}], "y": [{"q": "a"}]}', "json", "a list of objects with a"),
        ("[" * 200_000, "json", "its JSON is nested too deeply"),
        ('{"a":' * 200_000, "json", "its JSON is nested too deeply"),
        ('{"a":' * 200_000, "jsonl", "line 1 is nested too deeply"),
    ],
)
def test_what_is_wrong_with_json_is_said_with_its_place(content: str, suffix: str, problem: str) -> None:
    with pytest.raises(ReaderError) as caught:
        read(content, suffix)
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        ("", "csv"),
        ("question,answer\n", "csv"),
        ("question,answer\n,\n , \n", "csv"),
        ("\n", "jsonl"),
        ("[]", "json"),
        ('{"faqs": []}', "json"),
        ("[{}]", "json"),
    ],
)
def test_no_text(content: str, suffix: str) -> None:
    with pytest.raises(ReaderError, match=r"^it has no text$"):
        read(content, suffix)


def test_binary_content_is_refused() -> None:
    with pytest.raises(ReaderError, match=r"^this is not a text file but a ZIP archive or an Office document$"):
        read(b"PK\x03\x04\x14\x00\x06\x00")


def test_a_large_table_is_read_in_time() -> None:
    table = "question,answer,audience\n" + "Same?,Yes <b>really</b>.,internal\n" * 1_500
    start = time.process_time()
    documents = read(table)
    assert time.process_time() - start < 8
    assert len({document.id for document in documents}) == 1_500
