"""The index over its parts: what keywords and vectors find is put together, whatever is gone, added or hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from knowledge.base import EVERYTHING, KnowledgeBase
from knowledge.index import VECTORS
from knowledge.keywords.bm25 import Leg
from knowledge.ranking import DEPTH, best_rows
from knowledge.search import Query, SearchResult
from tests.knowledge.embedder import LetterEmbedder

MANY, FEW = 260, 50
STAFF = frozenset({"public", "internal"})


def write(folder: Path, number: int, more: str = "") -> None:
    """Every second one is near the question by its vector; "harbour" is in others, among many words of their own."""
    said = "ferry times and fares" if number % 2 else "harbour " + " ".join(f"w{number}x{each}" for each in range(40))
    audience = "internal" if number % 5 == 0 else "public"
    text = f"---\ntitle: Page {number}\naudience: {audience}\n---\n{said} {more}\n"
    (folder / f"page{number}.md").write_text(text, "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    for number in range(MANY):
        write(made, number)
    return made


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[KnowledgeBase]:
    base = KnowledgeBase(tmp_path / "data", LetterEmbedder())
    yield base
    await base.close()


QUESTION = "when does the ferry leave the harbour"


async def exact(found: SearchResult, question: str) -> int:
    """How many passages were found, each with its true cosine."""
    letters = LetterEmbedder()
    vector = await letters.embed_query(question)
    for hit in found.hits:
        (passage,) = await letters.embed_passages([hit.passage.searchable])
        assert hit.why.dense == pytest.approx(float(passage @ vector), abs=2e-4), hit.passage.id
    assert found.mode == "hybrid"
    return len(found.hits)


async def test_every_passage_that_is_found_has_its_cosine_also_beside_a_change(
    base: KnowledgeBase, folder: Path
) -> None:
    await base.sync(folder)
    public = await base.search(Query(QUESTION, EVERYTHING))
    assert await exact(public, QUESTION) > DEPTH, "some were found by keywords alone"
    assert {hit.audience for hit in public.hits} == {"public"}
    both = await base.search(Query(QUESTION, EVERYTHING, audiences=STAFF))
    assert await exact(both, QUESTION) > DEPTH
    assert {hit.audience for hit in both.hits} == STAFF
    (folder / "page2.md").unlink()
    for number in (1, 4, 5, 10, MANY):
        write(folder, number, f"{QUESTION}? new")
    await base.sync(folder)
    changed = await base.search(Query(QUESTION, EVERYTHING, audiences=STAFF))
    assert await exact(changed, QUESTION) > DEPTH
    texts = {hit.passage.document: hit.passage.text for hit in changed.hits}
    assert "page2" not in texts
    assert all(texts[f"page{number}"].endswith("new") for number in (1, 4, 5, 10))
    assert {hit.audience for hit in (await base.search(Query(QUESTION, EVERYTHING))).hits} == {"public"}
    assert all(part.ok for part in await base.verify())


async def test_many_questions_at_once_find_what_each_finds_alone(base: KnowledgeBase, folder: Path) -> None:
    await base.sync(folder)
    questions = [Query(f"w{number}x1 w{number + 2}x7 ferry harbour", 12) for number in range(0, 60, 2)]
    questions += [Query(f"page {number}", 12, context="fares", audiences=STAFF) for number in range(10)]
    alone = [await base.search(one) for one in questions]
    assert await asyncio.gather(*map(base.search, questions)) == alone


@pytest.mark.parametrize("damage", ["missing", "shorter", "other"])
async def test_a_file_of_vectors_that_is_damaged_is_told_and_made_anew(
    base: KnowledgeBase, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(FEW):
        write(folder, number)
    await base.sync(folder)
    await base.close()
    (file,) = (tmp_path / "data" / "index").rglob(VECTORS)
    if damage == "missing":
        file.unlink()
    elif damage == "shorter":
        file.write_bytes(file.read_bytes()[:-128])
    else:
        # Only in the rows that nothing is checked by at the start.
        vectors = np.fromfile(file, np.float16).reshape(FEW, -1)
        vectors[1:3] = vectors[1:3, ::-1]
        vectors.tofile(file)
    found = await base.search(Query("harbour"))
    assert found.hits
    if damage == "other":
        assert [part.name for part in await base.verify() if not part.ok] == ["vector index"]
        assert (await base.rebuild(wait=10)).done
    else:
        assert found.mode == "keyword"
        assert "frontdesk knowledge rebuild" in found.note
        await base.sync(folder)
    assert all(part.ok for part in await base.verify())
    assert await exact(await base.search(Query("harbour", EVERYTHING)), "harbour")


scores = hnp.arrays(np.float32, st.integers(0, 400), elements=st.sampled_from([0, 0, 0.25, 0.5, 1, 2]))


@given(scores, st.integers(1, 50))
def test_the_best_rows_are_those_of_a_sort(given: np.ndarray, many: int) -> None:
    ordered = [row for row in np.argsort(-given, kind="stable").tolist() if given[row] > 0]
    assert best_rows(given, many).tolist() == ordered[:many]


def test_rows_out_of_range_are_noticed_however_far_in(tmp_path: Path) -> None:
    size = 300_000
    rows = np.arange(size, dtype=np.int32)
    leg = Leg.build([(rows, np.zeros(size, np.int32))], size, 1)
    leg.save(tmp_path)
    assert Leg.load(tmp_path, size, leg.length).rows(0).tolist() == rows.tolist()
    rows[-5] = size
    np.save(tmp_path / "indices.npy", rows)
    with pytest.raises(ValueError, match="do not fit"):
        Leg.load(tmp_path, size, leg.length)
