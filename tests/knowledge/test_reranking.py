"""Reranking: the wire to a rerank server, and what search makes of a second opinion."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from knowledge.base import RERANKED, KnowledgeBase
from knowledge.embeddings import Embedder
from knowledge.errors import RerankerError
from knowledge.reranking import AT_ONCE, LONGEST_QUERY, LONGEST_TEXT, PAUSE, Pausing, RemoteReranker, Reranker
from knowledge.search import Query, SearchResult
from tests.knowledge.chroma_here import EmbeddedHere
from tests.knowledge.embedder import LetterEmbedder, Vectors
from tests.servers.model_server import Play, error, hang, raw
from tests.servers.rerank_server import ALIBABA, NATIVE, RerankServer, answers, fit, serving

KEY = "sk-right-7e1c"
QUERY = "how long does a refund take"
TEXTS = ["Dogs are welcome.", "A refund does take long: 5 days.", "A refund is sent by wire."]
SCORES = [fit(QUERY, text) for text in TEXTS]
Make = Callable[..., RemoteReranker]


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with serving(RerankServer(key=KEY)) as running:
        yield running


@pytest.fixture
async def make(server: RerankServer) -> AsyncIterator[Make]:
    """Builds a client's reranker; `base` is the path of its base URL."""
    clients: list[AsyncOpenAI] = []

    def build(*, base: str = "/v1", key: str = KEY, model: str = server.model, **options: Any) -> RemoteReranker:
        clients.append(AsyncOpenAI(base_url=server.host + base, api_key=key, max_retries=0))
        return RemoteReranker(clients[-1], model, **options)

    yield build
    for client in clients:
        await client.close()


class FakeReranker:
    """Scores as the server does, in this process. `fails` makes it fail; `of` scores instead of `fit`."""

    name = "fake"

    def __init__(self, of: Callable[[str, str], float] = fit) -> None:
        self.of = of
        self.fails = ""
        self.calls: list[tuple[str, list[str]]] = []

    async def rerank(self, query: str, texts: Sequence[str], /) -> list[float]:
        if not texts:
            return []
        self.calls.append((query, list(texts)))
        if self.fails:
            raise RerankerError(self.fails)
        return [self.of(query, text) for text in texts]


# What every reranker does ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["fake", "cohere", "dashscope", "pausing"])
def reranker(request: pytest.FixtureRequest, server: RerankServer, make: Make) -> Reranker:
    makers: dict[str, Callable[[], Reranker]] = {
        "fake": FakeReranker,
        "cohere": make,
        "dashscope": lambda: make(path=server.host + NATIVE, style="dashscope"),
        "pausing": lambda: Pausing(FakeReranker()),
    }
    return makers[request.param]()


async def test_scores_are_in_the_order_of_the_texts(reranker: Reranker) -> None:
    assert await reranker.rerank(QUERY, TEXTS) == SCORES
    assert await reranker.rerank(QUERY, TEXTS[::-1]) == SCORES[::-1]
    assert await reranker.rerank(QUERY, (TEXTS[0], TEXTS[0])) == [SCORES[0]] * 2


async def test_no_texts_are_no_scores_and_no_call(reranker: Reranker, server: RerankServer) -> None:
    assert await reranker.rerank(QUERY, []) == []
    assert server.calls == []


async def test_it_has_a_name(reranker: Reranker) -> None:
    assert reranker.name


@pytest.fixture(params=["fake", "remote", "pausing"])
def broken(request: pytest.FixtureRequest, server: RerankServer, make: Make) -> Reranker:
    server.play = error(500, "It is tired.")
    fake = FakeReranker()
    fake.fails = "It is tired."
    rerankers: dict[str, Reranker] = {"fake": fake, "remote": make(), "pausing": Pausing(fake)}
    return rerankers[request.param]


async def test_a_failure_is_a_reranker_error(broken: Reranker) -> None:
    for _ in range(2):
        with pytest.raises(RerankerError, match="It is tired"):
            await broken.rerank(QUERY, TEXTS)


# The wire -------------------------------------------------------------------------------------------------------------


async def test_the_request_in_coheres_form(server: RerankServer, make: Make) -> None:
    await make(instruct="Find the rule.").rerank(QUERY, TEXTS)
    await make().rerank(QUERY, TEXTS)
    plain = {"model": server.model, "query": QUERY, "documents": TEXTS, "top_n": 3}
    assert [call.body for call in server.calls] == [{**plain, "instruct": "Find the rule."}, plain]
    assert {call.path for call in server.calls} == {"/v1/rerank"}


async def test_the_request_in_alibabas_native_form(server: RerankServer, make: Make) -> None:
    await make(path=server.host + NATIVE, style="dashscope").rerank(QUERY, TEXTS)
    assert [call.body for call in server.calls] == [
        {
            "model": server.model,
            "input": {"query": QUERY, "documents": TEXTS},
            "parameters": {"top_n": 3, "return_documents": False},
        }
    ]


async def test_a_whole_address_replaces_the_base_url_and_gets_the_key(server: RerankServer, make: Make) -> None:
    reranker = make(base="/compatible-mode/v1", path=server.host + ALIBABA)
    assert await reranker.rerank(QUERY, TEXTS) == SCORES
    assert [(call.path, call.headers["authorization"]) for call in server.calls] == [(ALIBABA, f"Bearer {KEY}")]


async def test_its_name_tells_host_and_model(make: Make) -> None:
    assert make().name == "127.0.0.1/test-reranker"
    assert make(path="https://rerank.example/v2/rerank").name == "rerank.example/test-reranker"


async def test_many_texts_go_in_several_calls(server: RerankServer, make: Make) -> None:
    texts = [f"refund {n % 7} take" for n in range(1203)]
    assert await make().rerank(QUERY, texts) == [fit(QUERY, text) for text in texts]
    assert [len(call.body["documents"]) for call in server.calls] == [500, 500, 203]
    assert [call.body["top_n"] for call in server.calls] == [500, 500, 203]
    assert len(await make(most_texts=2).rerank(QUERY, TEXTS)) == 3
    assert [len(call.body["documents"]) for call in server.calls[3:]] == [2, 1]


async def test_long_texts_are_cut_and_spread_over_calls(server: RerankServer, make: Make) -> None:
    texts = ["款" * 9_000] * 200
    assert len(await make().rerank("問" * 40_000, texts)) == 200
    sizes = [sum(len(call.body["query"]) + len(text) for text in call.body["documents"]) for call in server.calls]
    assert max(sizes) <= AT_ONCE
    assert {len(text) for text in server.documents} == {LONGEST_TEXT}
    assert {len(call.body["query"]) for call in server.calls} == {LONGEST_QUERY}
    assert RERANKED * (LONGEST_TEXT + LONGEST_QUERY) <= AT_ONCE, "search makes one call"


async def test_a_strange_question_is_no_failure(make: Make) -> None:
    for text in ("?", "🦖", "\0", "\ud800", "x" * 40_000, "ก" * 500, '"]}'):
        assert len(await make().rerank(text, ["\udfff", "\0", "🦖"])) == 3


def scores(*pairs: tuple[Any, Any], name: str = "relevance_score") -> list[dict[str, Any]]:
    return [{"index": index, name: score} for index, score in pairs]


@pytest.mark.parametrize(
    "body",
    [
        {"results": scores((2, 0.5), (0, -3), (1, 1e-9))},
        {"results": scores((2, 0.5), (0, -3), (1, 1e-9), name="score")},
        {"output": {"results": scores((2, 0.5), (0, -3), (1, 1e-9))}, "request_id": "1"},
        {"object": "list", "data": scores((2, 0.5), (0, -3), (1, 1e-9))},
        [{**one, "document": "...", "meta_info": None} for one in scores((2, 0.5), (0, -3), (1, 1e-9), name="score")],
    ],
    ids=["results", "score", "output", "data", "list"],
)
async def test_all_forms_of_answer_are_read(server: RerankServer, make: Make, body: Any) -> None:
    server.play = answers(body)
    assert await make().rerank(QUERY, TEXTS) == [-3, 1e-9, 0.5]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (scores((0, 1), (1, 1), (3, 1)), "scored text 3, but the last one is 2"),
        (scores((0, 1), (1, 1), (-1, 1)), "scored text -1"),
        (scores((0, 1), (1, 1), ("2", 1)), "no index"),
        (scores((0, 1), (True, 1), (2, 1)), "no index"),
        (scores((0, 1), (1, 1), (2.0, 1)), "no index"),
        (scores((0, 1), (1, 1), (1, 1)), "scored text 1 twice"),
        (scores((0, 1), (1, 1)), "scored 2 of 3 texts"),
        ([], "scored 0 of 3 texts"),
        (scores((0, 1), (1, float("nan")), (2, 1)), "score of text 1 is not a number"),
        (scores((0, 1), (1, float("-inf")), (2, 1)), "score of text 1 is not a number"),
        (scores((0, 1), (1, True), (2, 1)), "score of text 1 is not a number"),
        (scores((0, 1), (1, "0.5"), (2, 1)), "score of text 1 is not a number"),
        (scores((0, 1), (1, None), (2, 1)), "score of text 1 is not a number"),
        (scores((0, 1), (1, 10**400), (2, 1)), "failed"),
        ([0.1, 0.2, 0.3], "not an object"),
        ({"0": 1}, "no scores"),
        (None, "no scores"),
    ],
)
async def test_odd_scores_are_refused(server: RerankServer, make: Make, body: Any, words: str) -> None:
    server.play = answers({"results": body})
    with pytest.raises(RerankerError, match=words):
        await make().rerank(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (raw(200, b"<html><body>Welcome</body></html>", "text/html"), "no scores.*Welcome"),
        (raw(200, b"<html>", "application/json"), "failed"),
        (raw(200, b"", "application/json"), "failed"),
        (raw(200, b"[" * 100_000, "application/json"), "failed"),
        (raw(200, b"null", "application/json"), "no scores"),
        (answers({"error": {"message": "The engine is on fire", "code": 500}}), "The engine is on fire"),
        (answers({"code": "DataInspectionFailed", "message": "Inappropriate"}), "Inappropriate"),
        (answers({"output": {"results": None}}), "no scores"),
        (error(429, "Requests rate limit exceeded.", "limit_requests"), "status 429, Requests rate limit exceeded"),
        (error(500, "Internal server error"), "status 500, Internal server error"),
        (raw(500, b"<html>Bad gateway</html>", "text/html"), "status 500, .*Bad gateway"),
        (raw(422, json.dumps({"detail": "Extra inputs"}).encode(), "application/json"), "status 422, Extra inputs"),
        (raw(401, b'{"error": "Unauthorized"}', "application/json"), "status 401, Unauthorized"),
        (raw(302, b"", "text/plain"), "status 302"),
    ],
)
async def test_faults_of_the_server_are_reranker_errors(
    server: RerankServer, make: Make, play: Play, words: str
) -> None:
    server.play = play
    with pytest.raises(RerankerError, match=words) as caught:
        await make().rerank(QUERY, TEXTS)
    assert caught.value.message.startswith("The reranker 127.0.0.1/test-reranker failed: ")
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert "frontdesk doctor" in caught.value.hint


async def test_a_server_that_says_nothing_is_given_up(server: RerankServer, make: Make) -> None:
    server.play = hang()
    with pytest.raises(RerankerError, match=r"no answer in 0\.2 s"):
        await make(seconds=0.2).rerank(QUERY, TEXTS)


@pytest.mark.parametrize(("path", "style"), [("/rerank", "cohere"), (NATIVE, "dashscope")])
async def test_a_wrong_key_is_told_but_not_shown(make: Make, server: RerankServer, path: str, style: str) -> None:
    key = "sk-wrong-0f6d"
    reranker = make(key=key, path=path if style == "cohere" else server.host + path, style=style)
    with pytest.raises(RerankerError, match=r"status 401, Incorrect API key provided: \[key\]") as caught:
        await reranker.rerank(QUERY, TEXTS)
    assert key not in f"{caught.value}{caught.value!r}"


async def test_a_wrong_model_is_told(make: Make) -> None:
    with pytest.raises(RerankerError, match="status 404, The model `nothing` does not exist"):
        await make(model="nothing").rerank(QUERY, TEXTS)


async def test_a_dead_host_is_a_reranker_error(make: Make) -> None:
    with pytest.raises(RerankerError, match=r"127\.0\.0\.1.*Connection error"):
        await make(path="http://127.0.0.1:9/rerank").rerank(QUERY, TEXTS)


# The pause ------------------------------------------------------------------------------------------------------------


async def test_after_a_failure_it_is_left_alone_for_a_while() -> None:
    now = [0.0]
    fake = FakeReranker()
    pausing = Pausing(fake, clock=lambda: now[0])
    fake.fails = "It is tired."
    for now[0] in (5.0, 6.0, 4.9 + PAUSE):
        with pytest.raises(RerankerError, match="It is tired"):
            await pausing.rerank(QUERY, TEXTS)
    assert len(fake.calls) == 1
    fake.fails = ""
    now[0] = 5.0 + PAUSE
    assert await pausing.rerank(QUERY, TEXTS) == SCORES
    assert await pausing.rerank(QUERY, TEXTS) == SCORES


@pytest.mark.parametrize("of", [[0.5], [0.5] * 4, [0.5, float("nan"), 0.5], [0.5, 0.5, float("inf")]])
async def test_a_reranker_that_breaks_its_word_has_failed(of: list[float]) -> None:
    class Odd(FakeReranker):
        async def rerank(self, query: str, texts: Sequence[str], /) -> list[float]:
            return of

    with pytest.raises(RerankerError, match="fake failed: its scores for 3 texts"):
        await Pausing(Odd()).rerank(QUERY, TEXTS)


# Search ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    texts = {
        "cards": "# Cards\n\nA refund to a card. Every refund. Refund after refund.\n",
        "wire": "# Wire\n\n## Abroad\n\nA refund by wire takes three weeks, and a fee is kept by the bank.\n",
        "pets": "# Pets\n\nA pet fee has no refund once the stay has begun.\n",
        "staff": "---\naudience: internal\n---\n# Goodwill\n\nA goodwill refund of 90 euros takes one call.\n",
    }
    for name, text in texts.items():
        (made / f"{name}.md").write_text(text, "utf-8")
    return made


@pytest.fixture(params=["keyword", "hybrid"])
def embedder(request: pytest.FixtureRequest) -> Embedder | None:
    return LetterEmbedder() if request.param == "hybrid" else None


Bases = Callable[[Reranker | None], KnowledgeBase]


@pytest.fixture
async def bases(tmp_path: Path, folder: Path, embedder: Embedder | None) -> AsyncIterator[Bases]:
    """Knowledge bases over the same data, each with a reranker of its own."""
    opened: list[KnowledgeBase] = []

    def open_base(reranker: Reranker | None) -> KnowledgeBase:
        opened.append(KnowledgeBase(tmp_path / "data", embedder, reranker=reranker, store=EmbeddedHere()))
        return opened[-1]

    await open_base(None).sync(folder)
    yield open_base
    for base in opened:
        await base.close()


def documents(result: SearchResult) -> list[str]:
    return [hit.passage.document for hit in result.hits]


def wants(word: str) -> Callable[[str, str], float]:
    return lambda query, text: 3.5 if word in text else -1.25


async def test_the_order_follows_the_reranker(bases: Bases) -> None:
    plain = await bases(None).search(Query("refund"))
    assert set(documents(plain)) == {"cards", "wire", "pets"}
    for document, word in (("cards", "Cards"), ("wire", "Abroad"), ("pets", "begun")):
        result = await bases(FakeReranker(wants(word))).search(Query("refund"))
        # The others are equal: they stay as they were.
        assert documents(result) == [document, *(one for one in documents(plain) if one != document)]
        assert [hit.why.reranked for hit in result.hits] == [3.5, -1.25, -1.25]
        assert result.note == ""


async def test_scores_and_confidence_stay_those_of_search(bases: Bases) -> None:
    plain = await bases(None).search(Query("refund fee"))
    result = await bases(FakeReranker(lambda query, text: -len(text) * 1e6)).search(Query("refund fee"))
    assert documents(plain) != documents(result)
    assert [hit.score for hit in result.hits] == [hit.score for hit in plain.hits]
    assert (result.confidence, result.mode, result.weights) == (plain.confidence, plain.mode, plain.weights)
    by_id = {hit.passage.id: hit.why for hit in plain.hits}
    assert all(hit.why.words == by_id[hit.passage.id].words for hit in result.hits)
    assert all(hit.why.reranked is None for hit in plain.hits)


async def test_it_reads_the_question_and_passages_with_their_headings(bases: Bases) -> None:
    fake = FakeReranker()
    await bases(fake).search(Query("refund", limit=1, context="my dog"))
    ((query, texts),) = fake.calls
    assert query == "refund"
    assert len(texts) == 3
    assert any(text.startswith("Wire > Abroad\nA refund by wire") for text in texts)


async def test_a_remote_reranker_in_search(server: RerankServer, make: Make, bases: Bases) -> None:
    base = bases(make())
    result = await base.search(Query("does the bank keep a fee for a refund by wire"))
    assert documents(result)[0] == "wire"
    assert result.hits[0].why.reranked is not None
    assert result.note == ""
    server.play = answers({"results": scores((0, 0.1), (1, 0.2), (2, 0.9))})
    last = server.documents[2]
    assert (await base.search(Query("does the bank keep a fee for a refund by wire"))).hits[
        0
    ].passage.searchable == last


async def test_a_failure_keeps_the_order_says_so_and_pauses(server: RerankServer, make: Make, bases: Bases) -> None:
    plain = await bases(None).search(Query("refund fee"))
    server.play = hang()
    base = bases(make(seconds=0.5))
    for _ in range(3):
        result = await base.search(Query("refund fee"))
        assert result.hits == plain.hits
        assert result.confidence == plain.confidence
        assert result.note == (
            "Passages are in search's own order: The reranker 127.0.0.1/test-reranker failed: no answer in 0.5 s."
        )
    assert len(server.calls) <= 1, "a slow machine may not have sent even the first within the deadline"


async def test_its_note_joins_the_one_of_search(tmp_path: Path, folder: Path) -> None:
    plain = KnowledgeBase(tmp_path / "data", None)
    await plain.sync(folder)
    await plain.close()
    fake = FakeReranker()
    fake.fails = "It is tired."
    base = KnowledgeBase(tmp_path / "data", LetterEmbedder(), reranker=fake)
    note = (await base.search(Query("refund"))).note
    await base.close()
    assert note.startswith("Passages are in search's own order: It is tired. Search works by keywords only: ")


async def test_other_audiences_are_never_sent(server: RerankServer, make: Make, bases: Bases) -> None:
    base = bases(make())
    await base.search(Query("a goodwill refund of 90 euros"))
    assert server.documents
    assert not any("oodwill" in text for text in server.documents)
    result = await base.search(Query("a goodwill refund of 90 euros", audiences=frozenset({"public", "internal"})))
    assert documents(result)[0] == "staff"
    assert any("oodwill" in text for text in server.documents)


async def test_an_audience_that_changes_during_a_search_is_kept(tmp_path: Path, folder: Path) -> None:
    class Meanwhile(LetterEmbedder):
        """While it makes the question's vector, another process takes a document from the public."""

        async def embed_query(self, text: str) -> Vectors:
            (folder / "pets.md").write_text(
                "---\naudience: internal\n---\n" + (folder / "pets.md").read_text("utf-8"), "utf-8"
            )
            other = KnowledgeBase(tmp_path / "data", LetterEmbedder(), store=EmbeddedHere())
            await other.sync(folder)
            await other.close()
            return await super().embed_query(text)

    fake = FakeReranker()
    base = KnowledgeBase(tmp_path / "data", Meanwhile(), reranker=fake, store=EmbeddedHere())
    await base.sync(folder)
    result = await base.search(Query("pet fee refund"))
    await base.close()
    assert "pets" not in documents(result)
    assert len(fake.calls) == 1
    assert not any("pet fee" in text for text in fake.calls[0][1])


@pytest.mark.parametrize("query", [Query("zzzz qqqq"), Query(""), Query(" \n"), Query("begun")])
async def test_nothing_to_order_makes_no_call(tmp_path: Path, folder: Path, query: Query) -> None:
    fake = FakeReranker()
    base = KnowledgeBase(tmp_path / "data", None, reranker=fake)
    empty = await base.search(query)
    assert "empty" in empty.note
    await base.sync(folder)
    assert len((await base.search(query)).hits) <= 1
    await base.close()
    assert fake.calls == []


async def test_a_question_without_words_is_not_sent(bases: Bases) -> None:
    # Vectors find something for it all the same; servers refuse an empty query.
    fake = FakeReranker()
    await bases(fake).search(Query(" \n"))
    assert fake.calls == []


async def test_a_question_that_makes_no_sense_alone_keeps_its_order(bases: Bases) -> None:
    fake = FakeReranker(wants("Abroad"))
    query = Query("and the refund?", context="a pet fee", leans=True)
    assert (await bases(fake).search(query)).hits == (await bases(None).search(query)).hits
    assert fake.calls == []


async def test_only_the_best_are_reranked_and_the_others_follow(tmp_path: Path, folder: Path) -> None:
    for n in range(RERANKED + 10):
        (folder / f"note{n:02}.md").write_text(f"# Note {n}\n\nA refund, " + "and so on, " * n, "utf-8")
    fake = FakeReranker(lambda query, text: len(text))
    base = KnowledgeBase(tmp_path / "data", None, reranker=fake)
    plain = KnowledgeBase(tmp_path / "data", None)
    await plain.sync(folder)
    result = await base.search(Query("refund", limit=RERANKED + 5))
    fused = await plain.search(Query("refund", limit=RERANKED + 5))
    best, _ = await base.best_documents(Query("refund", limit=RERANKED + 5))
    await base.close()
    await plain.close()
    assert len(fake.calls[0][1]) == RERANKED
    assert len(result.hits) == RERANKED + 5
    assert documents(result)[RERANKED:] == documents(fused)[RERANKED:]
    assert {hit.why.reranked is None for hit in result.hits[RERANKED:]} == {True}
    assert [hit.why.reranked for hit in result.hits[:RERANKED]] == sorted(map(len, fake.calls[0][1]), reverse=True)
    found = [hit.score for hit in result.hits]
    assert found == sorted(found, reverse=True)
    assert best == documents(result)
