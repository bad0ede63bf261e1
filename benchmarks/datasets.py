"""Collections to measure search on: a folder with docs.jsonl, queries.jsonl and qrels.tsv, or the sample knowledge base."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "larkstay"


@dataclass(frozen=True)
class Dataset:
    """`questions` are (id, text); `gold` maps a question's id to its documents with their relevance."""

    name: str
    documents: Path
    questions: list[tuple[str, str]]
    gold: dict[str, dict[str, int]]


def load(folder: Path, scratch: Path) -> Dataset:
    """Read a dataset; its documents are written to `scratch` as Markdown files with front matter."""
    documents = scratch / folder.name
    documents.mkdir(parents=True)
    for number, line in enumerate((folder / "docs.jsonl").read_text("utf-8").splitlines()):
        entry = json.loads(line)
        title = json.dumps(entry.get("title") or entry["id"])
        text = f"---\nid: {json.dumps(entry['id'])}\ntitle: {title}\n---\n{entry['text']}\n"
        (documents / f"{number:06d}.md").write_text(text, "utf-8")
    questions = [json.loads(line) for line in (folder / "queries.jsonl").read_text("utf-8").splitlines()]
    gold: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines():
        question, document, relevance = (*line.split("\t"), "", "")[:3]
        if relevance.isdigit() and int(relevance) > 0:
            gold[question][document] = int(relevance)
    return Dataset(folder.name, documents, [(one["id"], one["text"]) for one in questions], dict(gold))


def sample() -> Dataset:
    """The sample knowledge base: its questions that need no conversation and are in the documents' language."""
    lines = (SAMPLE / "questions.jsonl").read_text("utf-8").splitlines()
    asked = [one for one in map(json.loads, lines) if one["kind"] not in ("follow-up", "language")]
    gold = {one["id"]: dict.fromkeys(one["documents"], 1) for one in asked}
    return Dataset("larkstay", SAMPLE / "documents", [(one["id"], one["text"]) for one in asked], gold)


def general() -> list[str]:
    """Questions that have nothing to do with any product."""
    return (Path(__file__).parent / "general_questions.txt").read_text("utf-8").splitlines()


def unanswerable() -> list[str]:
    """Questions that nothing public in the sample knowledge base answers."""
    return [json.loads(line)["text"] for line in (SAMPLE / "unanswerable.jsonl").read_text("utf-8").splitlines()]
