"""The local embedder: what happens when its files are missing, damaged, or slow to come, and that it embeds as Chroma does."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from knowledge.base import KnowledgeBase
from knowledge.embeddings.minilm import DIMENSION, FILES, MiniLM
from knowledge.errors import EmbedderError
from knowledge.search import Query


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        accepted: list[socket.socket] = []
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                try:
                    accepted.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        for one in accepted:
            one.close()


def say(line: str) -> None:
    """Nobody listens."""


async def test_missing_files_are_named(tmp_path: Path) -> None:
    embedder = MiniLM(tmp_path)
    assert embedder.missing() == list(FILES)
    (tmp_path / "vocab.txt").write_text("hello")
    with pytest.raises(EmbedderError, match=r"not whole.*model\.onnx"):
        await embedder.embed_query("hello")


async def test_offline_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="offline"):
        await MiniLM(tmp_path / "onnx", download=False).prepare(say)
    assert list(tmp_path.iterdir()) == []


async def test_without_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    lines: list[str] = []
    with pytest.raises(EmbedderError, match="could not be fetched"):
        await MiniLM(tmp_path / "onnx").prepare(lines.append)
    assert "80 MB" in lines[0]
    assert list(tmp_path.iterdir()) == [], "no half of a download stays"


async def test_a_slow_network_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{silent_port}")
    async with asyncio.timeout(20):
        with pytest.raises(EmbedderError, match=r"in 2 s|could not be fetched"):
            await MiniLM(tmp_path / "onnx", download_seconds=2).prepare(say)
    assert list(tmp_path.iterdir()) == []


async def test_damaged_files_are_told(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(EmbedderError, match="damaged"):
        await MiniLM(tmp_path).embed_query("hello")


async def test_a_damaged_model_is_told(tmp_path: Path, minilm_folder: Path) -> None:
    shutil.copytree(minilm_folder, tmp_path / "onnx")
    model = tmp_path / "onnx" / "model.onnx"
    model.write_bytes(model.read_bytes()[:1_000_000])
    with pytest.raises(EmbedderError, match="damaged"):
        await MiniLM(tmp_path / "onnx").embed_query("hello")


async def test_it_embeds_as_chroma_does(minilm_folder: Path) -> None:
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

    texts = ["How do I cancel a booking?", "Refunds take 5 days. " * 100, "x"]
    theirs = ONNXMiniLM_L6_V2()
    theirs.DOWNLOAD_PATH = minilm_folder.parent
    expected = theirs(texts)
    vectors = await MiniLM(minilm_folder).embed_passages(texts)
    assert vectors.shape == (3, DIMENSION)
    for ours, other in zip(vectors, expected, strict=True):
        assert float(ours @ other) == pytest.approx(1.0, abs=0.02)
    similarity, theirs_similarity = vectors @ vectors.T, np.array(expected) @ np.array(expected).T
    np.testing.assert_allclose(similarity, theirs_similarity, atol=0.03)


async def test_a_question_and_its_answer_are_near(minilm_folder: Path) -> None:
    embedder = MiniLM(minilm_folder)
    question = await embedder.embed_query("When do I get my money back?")
    near, far = await embedder.embed_passages(["Refunds arrive within a week.", "The door code has six digits."])
    assert question @ near > question @ far + 0.2


async def test_search_by_meaning(tmp_path: Path, minilm_folder: Path) -> None:
    (tmp_path / "documents").mkdir()
    for name, text in {"refunds": "Refunds arrive within a week.", "door": "The door code has six digits."}.items():
        (tmp_path / "documents" / f"{name}.md").write_text(f"# {name}\n\n{text}\n")
    base = KnowledgeBase(tmp_path / "data", MiniLM(minilm_folder))
    await base.sync(tmp_path / "documents")
    found = await base.search(Query("when is my money back?"))
    assert (found.mode, found.note, found.hits[0].passage.document) == ("hybrid", "", "refunds")
    similarity = await base.similarity("money back", ["Refunds arrive.", "Six digits."])
    assert similarity is not None
    assert similarity[0] > similarity[1]
    await base.close()
