"""The sample knowledge base is what its README says: complete, well-formed and consistent with its questions."""

from __future__ import annotations

import csv
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "larkstay"
DOCUMENTS = SAMPLE / "documents"
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
KEYS = {"id", "title", "url", "audience", "language", "updated", "review_by", "tags"}
KINDS = {
    "direct",
    "paraphrase",
    "two-documents",
    "table",
    "exception",
    "steps",
    "code",
    "product",
    "typo",
    "short",
    "long",
    "several",
    "follow-up",
    "language",
}


def front_matter(path: Path) -> dict[str, Any]:
    """What stands between the two lines of dashes; empty for a file without them."""
    match = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
    if match is None:
        return {}
    loaded = yaml.safe_load(match[1])
    assert isinstance(loaded, dict), path
    return loaded


def files() -> list[Path]:
    return sorted(path for path in DOCUMENTS.rglob("*") if path.is_file())


def document_id(path: Path) -> str:
    own = front_matter(path).get("id")
    return str(own) if own is not None else path.relative_to(DOCUMENTS).with_suffix("").as_posix()


def internal_files() -> list[Path]:
    return [path for path in files() if front_matter(path).get("audience", "public") == "internal"]


def rows(name: str) -> list[dict[str, Any]]:
    lines = (SAMPLE / name).read_text(encoding="utf-8").splitlines()
    loaded = [json.loads(line) for line in lines]
    assert all(isinstance(row, dict) for row in loaded), name
    return loaded


def test_there_are_enough_documents_of_every_format() -> None:
    assert len(files()) >= 24
    assert {path.suffix for path in files()} == {".md", ".html", ".txt", ".csv"}


def test_document_ids_are_unique() -> None:
    ids = [document_id(path) for path in files()]
    assert len(set(ids)) == len(ids)


def test_some_documents_have_no_id_and_one_has_no_front_matter() -> None:
    markdown = [front_matter(path) for path in files() if path.suffix == ".md"]
    assert any(matter and "id" not in matter for matter in markdown)
    assert {} in markdown


@pytest.mark.parametrize("path", [path for path in files() if front_matter(path)], ids=document_id)
def test_front_matter_is_well_formed(path: Path) -> None:
    matter = front_matter(path)
    assert set(matter) <= KEYS
    assert isinstance(matter["title"], str)
    assert matter.get("audience", "public") in {"public", "internal"}
    assert isinstance(matter["tags"], list)
    assert all(isinstance(tag, str) for tag in matter["tags"])
    assert isinstance(matter["updated"], date)
    assert date(2025, 1, 1) <= matter["updated"] <= date(2026, 11, 23)
    assert isinstance(matter["review_by"], date)
    assert matter["review_by"] > matter["updated"]
    assert matter.get("url", "https://help.larkstay.example/articles/").startswith("https://help.larkstay.example/")


def test_links_between_articles_lead_somewhere() -> None:
    known = {path.stem for path in files()} | {
        str(front_matter(path).get("url", "")).rsplit("/", 1)[-1] for path in files()
    }
    link = re.compile(r"\]\(https://help\.larkstay\.example/articles/([a-z0-9-]+)\)")
    targets = {slug for path in files() for slug in link.findall(path.read_text(encoding="utf-8"))}
    assert targets
    assert targets <= known


def test_the_faq_is_a_table_of_questions_and_answers() -> None:
    with (DOCUMENTS / "faq.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, strict=True))
    assert len(table) >= 8
    assert all(set(row) == {"question", "answer"} and row["question"] and row["answer"] for row in table)


def test_exactly_one_document_is_internal() -> None:
    assert len(internal_files()) == 1


def test_amounts_of_the_internal_document_are_in_no_public_one() -> None:
    (internal,) = internal_files()
    limits = set(re.findall(r"\| (€\d+) \|", internal.read_text(encoding="utf-8")))
    assert len(limits) == 4
    for path in files():
        if path != internal:
            assert not limits & set(re.findall(r"€\d+", path.read_text(encoding="utf-8"))), path


def test_questions_have_their_keys() -> None:
    questions = rows("questions.jsonl")
    assert len(questions) >= 40
    assert len({row["id"] for row in questions}) == len(questions)
    assert len({row["text"] for row in questions}) == len(questions)
    for row in questions:
        extra = {"follow-up": {"before"}, "language": {"language"}}.get(row["kind"], set())
        assert set(row) == {"id", "text", "documents", "kind"} | extra, row["id"]
        assert re.fullmatch(r"q\d\d", row["id"])
        assert isinstance(row["text"], str)
        assert row["text"].strip()
        assert row["documents"]
        assert len(set(row["documents"])) == len(row["documents"])


def test_questions_cover_every_kind() -> None:
    kinds = [row["kind"] for row in rows("questions.jsonl")]
    assert set(kinds) == KINDS
    assert kinds.count("two-documents") >= 5
    assert kinds.count("follow-up") >= 4
    assert sorted(row["language"] for row in rows("questions.jsonl") if "language" in row) == [
        "de",
        "es",
        "fr",
        "ja",
        "nl",
        "zh",
    ]


def test_questions_of_two_documents_name_two() -> None:
    assert all(len(row["documents"]) >= 2 for row in rows("questions.jsonl") if row["kind"] == "two-documents")


def test_short_and_long_questions_are_short_and_long() -> None:
    for row in rows("questions.jsonl"):
        words = len(row["text"].split())
        if row["kind"] == "short":
            assert 1 <= words <= 3, row["id"]
        if row["kind"] == "long":
            assert 60 <= words <= 120, row["id"]


def test_follow_ups_come_after_a_conversation() -> None:
    for row in rows("questions.jsonl"):
        for turn in row.get("before", []):
            assert set(turn) == {"role", "text"}
            assert turn["role"] in {"customer", "agent"}
        if row["kind"] == "follow-up":
            assert row["before"][0]["role"] == "customer"
            assert row["before"][-1]["role"] == "agent"


def test_questions_name_public_documents_that_exist() -> None:
    internal = {document_id(path) for path in internal_files()}
    public = {document_id(path) for path in files()} - internal
    named = {document for row in rows("questions.jsonl") for document in row["documents"]}
    assert not named & internal
    assert named <= public
    assert public <= named, "every public document is asked about"


def test_questions_do_not_repeat_headings() -> None:
    headings = {
        heading.casefold()
        for path in files()
        for heading in re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert not headings & {row["text"].casefold() for row in rows("questions.jsonl")}


def test_unanswerable_questions_have_their_keys() -> None:
    unanswerable = rows("unanswerable.jsonl")
    assert len(unanswerable) >= 15
    assert len({row["id"] for row in unanswerable}) == len(unanswerable)
    kinds = [row["kind"] for row in unanswerable]
    assert set(kinds) == {"in-domain", "off-topic", "internal"}
    assert kinds.count("in-domain") >= 9
    assert kinds.count("internal") == 2
    for row in unanswerable:
        assert set(row) == {"id", "text", "kind"}
        assert re.fullmatch(r"u\d\d", row["id"])
        assert row["text"].strip()


def test_the_demo_has_five_messages() -> None:
    demo = rows("demo.jsonl")
    assert [set(row) for row in demo] == [
        {"text", "note"},
        {"text", "note"},
        {"text", "note", "needs_model"},
        {"text", "note"},
        {"text", "note"},
    ]
    assert demo[2]["needs_model"] is True
    assert demo[-1]["text"] == "Let me talk to a person, please."
