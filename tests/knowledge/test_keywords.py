"""The keyword leg: what matches what, the same scores as bm25s itself, and a saved index that tells when it is damaged."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from knowledge import keywords
from knowledge.errors import StoreError
from knowledge.keywords import KeywordIndex
from knowledge.keywords import tokenizer as tokens_module
from knowledge.keywords.additions import ExtendedKeywords
from knowledge.keywords.bm25 import K1, B
from knowledge.keywords.tokenizer import LONGEST_WORD, fold, tokens
from knowledge.ranking import by_keywords
from knowledge.search import Query

TEXTS = [
    "Refunds › By card\nA refund reaches your card after five days. Error PAY-402 means that the bank said no.",
    "Cancelling a booking\nYou can cancel bookings up to 24 hours before check-in. E-mail us at help@example.com.",
    "退款政策\n您可以在三十天内申请退款。",
    "Straße und Öffnungszeiten\nWir öffnen um 9 Uhr; das kostet 1,250.50 Euro. It's the customers' choice, don't worry.",
    "L’hôtel\nL'annulation d'une réservation coûte 10 euros.",
]
IDS = [f"doc#{number}" for number in range(len(TEXTS))]


def build(texts: list[str] | None = None, grams: bool | None = None) -> KeywordIndex:
    chosen = TEXTS if texts is None else texts
    return KeywordIndex.build([str(number) for number in range(len(chosen))], chosen, grams=grams)


INDEX = build()


def scores(index: KeywordIndex, query: str) -> NDArray[np.float32]:
    """All that keywords say, as search puts it together."""
    return by_keywords(Query(query), index, np.zeros(0, int)).keyword


def best(query: str) -> int:
    return int(scores(INDEX, query).argmax())


# --- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PAY-402", ["pay", "402", "pay402"]),
        ("Wi‑Fi e_mail", ["wi", "fi", "e", "mail", "email"]),
        ("v1.2 1,250 ＡＢＣ", ["v1", "2", "v1.2", "1250", "abc"]),
        ("It's the customers' don’t", ["it", "the", "customers", "dont"]),
        ("L’hôtel qu'il", ["l", "hotel", "lhotel", "qu", "il", "quil"]),
        ("退款政策 款 カード", ["退款", "款政", "政策", "款", "カー", "ード"]),
        ("Straße ÖL 한국어", ["strasse", "ol", "한국어"]),
        ("iPhone15 24hours X200", ["iphone15", "iphone", "15", "24hours", "24", "hours", "x200"]),
        ("0x80070057 a1b2c3", ["0x80070057", "a1b2c3"]),
        ("ERR_CONNECTION", ["err", "connection", "errconnection"]),
        ("C++, C# and .NET, not a+b", ["c++", "c", "c#", "c", "and", "net", "not", "a", "b"]),
        ("café CAFÉ cafe", ["cafe", "cafe", "cafe"]),
        ("אֲנִי שָׁלוֹם", ["אני", "שלום"]),
        ("أُحِبُّ إلى الى مـحـمـد", ["احب", "الى", "الى", "محمد"]),
        ("ยกเลิก", ["ยก", "กเ", "เล", "ลิ", "ิก"]),
        ("a" * 100, ["a" * 40]),
        (" ?! \n", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert list(tokens(text)) == expected


@settings(deadline=None)
@given(st.text(max_size=200))
def test_folding_twice_changes_nothing_more_and_tokens_are_short(text: str) -> None:
    assert fold(fold(text)) == fold(text) or not text.isascii()
    assert all(0 < len(word) <= LONGEST_WORD for word in tokens(text))


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("pay402", 0),
        ("PAY 402?", 0),
        ("REFUNDED CARDS", 0),
        ("cancelation of my bookng", 1),
        ("email", 1),
        ("checkin", 1),
        ("申请退款", 2),
        ("offnungszeiten", 3),
        ("OEFFNUNGSZEITEN Straße", 3),
        ("hotel", 4),
        ("reservation", 4),
    ],
)
def test_a_question_finds_its_passage_however_it_is_typed(query: str, row: int) -> None:
    assert best(query) == row


def test_stop_words_count_only_when_there_is_nothing_else() -> None:
    assert INDEX.terms("How can I cancel my booking, please?") == ["cancel", "book"]
    assert INDEX.terms("what can you do") == ["what", "can", "you", "do"]
    assert INDEX.weights("what can you do") == {}
    assert INDEX.coverage("what can you do", range(5)) == 0
    assert (INDEX.words("I would like my refund") == INDEX.words("like refund")).all()


HARD = build(
    [
        "Devices\nThe app runs on the iPhone 15 and on the X-200. On others: ERR_CONNECTION_REFUSED.",
        "Kündigung\nDie Kündigungsfrist beträgt zwei Wochen; Hausratversicherungen laufen länger.",
        "Install\nError 0x80070057 means that C++ is missing; with C# or .NET use the other package.",
        "予約\nチェックインの日まで予約を無料でキャンセルできます。",
        "การยกเลิก\nคุณสามารถยกเลิกการจองได้ฟรี",
        "الإلغاء\nيمكنك إلغاء الحجز مجانًا حتى يوم الوصول.",
        "ביטול\nאפשר לבטל את ההזמנה בחינם עד יום ההגעה.",
        "Café\nThe café of the house is open to 18:00.",
        "Rules\nA guest must not smoke. Lights out after eleven, check out before ten.",
    ]
)


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("iPhone15", 0),
        ("IPHONE-15", 0),
        ("x200", 0),
        ("err connection refused", 0),
        ("Frist der Kündigung", 1),
        ("Hausrat Versicherung", 1),
        ("error 0X80070057!", 2),
        ("is c++ needed", 2),
        ("dotnet .net", 2),
        ("キャンセル", 3),
        ("予約をキャンセルしたい", 3),
        ("ยกเลิก", 4),
        ("الغاء الحجز", 5),
        ("ההזמנה", 6),
        ("when does the cafe open", 7),
        ('"check out" time', 8),
    ],
)
def test_codes_names_and_scripts_are_found(query: str, row: int) -> None:
    assert int(scores(HARD, HARD.corrected(query)).argmax()) == row


# --- scores

EMPTY = ["", " \n", "!?", "zzzzqqqq", "Ω", "\ud800", "\0"]


@pytest.mark.parametrize("query", EMPTY)
@pytest.mark.parametrize(
    "index", [INDEX, build([]), build(["", "\n"]), build(grams=False)], ids=["full", "none", "blank", "words"]
)
def test_a_query_without_a_known_word_scores_nothing(index: KeywordIndex, query: str) -> None:
    legs = (index.words(query), index.pairs(query), index.titles(query), index.grams(query))
    for said in (scores(index, query), *legs):
        assert said.dtype == np.float32
        assert said.shape == (len(index),)
        assert not said.any()
    assert index.coverage(query, []) == 0
    assert index.coverage(query, range(len(index))) == 0


def test_the_legs_are_put_together_in_proportion_to_their_best_passage() -> None:
    words, grams, titles = INDEX.words("refund card"), INDEX.grams("refund card"), INDEX.titles("refund card")
    expected = words / words.max() + grams / grams.max() + keywords.TITLE * titles / titles.max()
    np.testing.assert_allclose(scores(INDEX, "refund card"), expected, rtol=1e-6)
    alone = build(grams=False)
    assert not alone.grams("refund").any()
    assert scores(alone, "refund card").max() == 1 + keywords.TITLE


NEIGHBOURS = build(
    [
        "Keys\nThe damage fee for a late guest or deposit.",
        "Keys\nThe fee for a guest: late deposit or damage.",
    ]
)


@pytest.mark.parametrize("query", ["damage fee", "a fee for damage?", "late: deposit"])
def test_words_side_by_side_count_more_in_any_order(query: str) -> None:
    together = int("late" in query)
    assert NEIGHBOURS.words(query)[0] == NEIGHBOURS.words(query)[1]
    assert NEIGHBOURS.pairs(query)[1 - together] == 0 < NEIGHBOURS.pairs(query)[together]
    assert scores(NEIGHBOURS, query).argmax() == together


def test_words_are_no_neighbours_across_one_that_is_not_known() -> None:
    index = build(["Dogs\nA guide dog is welcome.", "Cats\nCats are not."])
    assert index.pairs("the guide dog").any()
    assert index.pairs("dog guide").any()
    assert not index.pairs("guide xyzzy dog").any()
    assert not index.pairs("dog dog").any()
    assert not index.pairs("dog").any()


CODES = build(
    [
        "Identity\nThe check failed with `ID-320`: the name differs.",
        "Errors\nError, error! What to do about an error: errors are shown.",
        "Errors\nAn error is an error. What to do?",
        "Settings\nSet max_tokens to 5. Within 24h.",
    ]
    + [f"Times\nOn day {day} within 24h." for day in range(20)]
)


@pytest.mark.parametrize("query", ["id320 error what to do", "error ID 320, what to do?", "ERROR id-320"])
def test_a_code_counts_more_than_what_is_said_around_it(query: str) -> None:
    assert CODES.codes(query).tolist()[:4] == [1, 0, 0, 0]
    assert int(scores(CODES, query).argmax()) == 0


def test_what_is_everywhere_or_nowhere_is_no_code() -> None:
    assert CODES.codes("max_tokens within 24h")[3] == 1
    assert not CODES.codes("within 24h").any()
    assert not CODES.codes("ID-321 or PAY-402, and the check of 5 tokens").any()
    assert CODES.codes("id-320 and max_tokens").tolist()[:4] == [0.5, 0, 0, 0.5]


def test_titles_count_by_themselves() -> None:
    index = build(["Refunds\nYou get your money.", "Cards\nRefunds go to your card, and refunds take time."])
    assert index.titles("refund").tolist()[1] == 0 < index.titles("refund")[0]
    assert not index.titles("money").any()


def test_four_grams_are_left_out_of_large_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keywords, "GRAMS_LIMIT", len(TEXTS) - 1)
    assert not build().grams("refund").any()
    assert build(grams=True).grams("refund").any()


vocabulary = st.sampled_from(["refund", "card", "book", "pai", "bank", "fee", "402"])
collections = st.lists(st.lists(vocabulary, min_size=1, max_size=12), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(collections, st.lists(vocabulary, min_size=1, max_size=5, unique=True), st.integers(1, 20))
def test_the_scores_are_those_of_bm25s(corpus: list[list[str]], query: list[str], batch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_module, "_BATCH", batch)
        ours = build([" ".join(words) for words in corpus]).words(" ".join(query))
    theirs = bm25s.BM25(k1=K1, b=B, method="lucene")
    theirs.index(corpus, show_progress=False)
    known = [word for word in query if word in theirs.vocab_dict]
    expected = theirs.get_scores(known) if known else np.zeros(len(corpus))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(alphabet="abcé 退\n-", max_size=40), max_size=8), st.text(alphabet="abcé 退\n-", max_size=30))
def test_a_batch_boundary_changes_nothing(texts: list[str], query: str) -> None:
    whole = build(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_module, "_BATCH", 3)
        parts = build(texts)
    np.testing.assert_allclose(parts.words(query), whole.words(query), rtol=1e-5)
    np.testing.assert_allclose(parts.pairs(query), whole.pairs(query), rtol=1e-5)
    np.testing.assert_allclose(parts.titles(query), whole.titles(query), rtol=1e-5)
    np.testing.assert_allclose(parts.grams(query), whole.grams(query), rtol=1e-5)


def test_ids_and_texts_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 ids for 2 texts"):
        KeywordIndex.build(["a"], ["b", "c"])


# --- spelling

HELP = build(
    ["Change the dates of your booking.", "To change a booking, choose new dates. See PAY-402.", "Your password"] * 2
)


@pytest.mark.parametrize(
    ("typed", "mended"),
    [
        ("How do I chnage my bokking?", "How do I change my booking?"),
        ("my pasword doesn't work", "my password doesn't work"),
        ("changing my BOOKINGS and PAY-403", "changing my BOOKINGS and PAY-403"),
        ("the hange of my dats", "the hange of my dates"),
        ("of yuor booking", "of your booking"),
        ("a cook for you and the oats", "a cook for you and the oats"),
        ("Wie kann man seine bookung umbuchen?", "Wie kann man seine bookung umbuchen?"),
        ("my " * 101 + "bokking", "my " * 101 + "bokking"),
        ("", ""),
    ],
)
def test_misspelt_words_are_mended_and_nothing_else(typed: str, mended: str, tmp_path: Path) -> None:
    assert HELP.corrected(typed) == mended
    HELP.save(tmp_path)
    assert KeywordIndex.load(tmp_path).corrected(typed) == mended


def test_what_is_spelt_right_elsewhere_is_left_alone() -> None:
    assert HELP.corrected("how to chance a bokking", right={"chance"}) == "how to chance a booking"
    assert HELP.corrected("how to chance a bokking") == "how to change a booking"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_whatever_is_typed_is_corrected_once(query: str) -> None:
    assert HELP.corrected(HELP.corrected(query)) == HELP.corrected(query)
    assert build([]).corrected(query) == query


# --- coverage


def test_coverage_is_the_weight_of_the_words_found() -> None:
    weights = INDEX.weights("refund card zzzz")
    assert weights["zzzz"] == pytest.approx(math.log(1 + (len(TEXTS) + 0.5) / 0.5))
    assert max(weights, key=lambda word: weights[word]) == "zzzz"
    share = (weights["refund"] + weights["card"]) / sum(weights.values())
    assert INDEX.coverage("refund card zzzz", 0) == pytest.approx(share)
    assert INDEX.coverage("refund booking", [0, 1]) == pytest.approx(1)
    assert INDEX.coverage("refund booking", 1) < 1
    rows = np.arange(2)
    assert INDEX.matched(["refund", "zzzz"], rows) == [("refund",), ()]


# --- disk


def test_a_saved_index_answers_the_same(tmp_path: Path) -> None:
    for number, index in enumerate((INDEX, build([]), build(grams=False))):
        index.save(tmp_path / str(number))
        loaded = KeywordIndex.load(tmp_path / str(number))
        assert loaded.ids == index.ids
        for query in ("refund PAY-402", "退款", "", "zzz"):
            assert (scores(loaded, query) == scores(index, query)).all()
            assert loaded.weights(query) == index.weights(query)
            assert loaded.coverage(query, range(len(index))) == index.coverage(query, range(len(index)))


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def saved_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("saved")
    INDEX.save(directory)
    return files(directory)


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "junk"])
def test_a_damaged_index_is_refused_with_a_clear_error(tmp_path: Path, saved_files: list[str], harm: str) -> None:
    for number, name in enumerate(saved_files):
        directory = tmp_path / str(number)
        INDEX.save(directory)
        path = directory / name
        content = path.read_bytes()
        if harm == "missing":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "junk": b"\xff" * len(content)}[harm])
        with pytest.raises(StoreError, match="cannot be used"):
            KeywordIndex.load(directory)


def test_a_mixed_or_foreign_index_is_refused(tmp_path: Path) -> None:
    INDEX.save(tmp_path / "a")
    build(["refund", "card"]).save(tmp_path / "b")
    (tmp_path / "a" / "manifest.json").write_bytes((tmp_path / "b" / "manifest.json").read_bytes())
    with pytest.raises(StoreError, match="do not fit together"):
        KeywordIndex.load(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 99"):
        KeywordIndex.load(tmp_path / "a")
    with pytest.raises(StoreError):
        KeywordIndex.load(tmp_path / "nowhere")


# --- weight


def test_importing_it_loads_nothing_heavy_and_building_prints_nothing() -> None:
    code = (
        "import sys, knowledge.keywords as k; heavy = {'numpy', 'bm25s', 'Stemmer', 'numba', 'jax'};"
        "assert not heavy & set(sys.modules); k.KeywordIndex.build(['a'], ['refund']).words('refund')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- passages behind an index


@settings(deadline=None, max_examples=60)
@given(collections, collections, st.lists(vocabulary, min_size=1, max_size=4))
def test_passages_added_behind_are_found_by_the_same_words(
    before: list[list[str]], added: list[list[str]], query: list[str]
) -> None:
    texts = [" ".join(words[:1]) + "\n" + " ".join(words[1:]) for words in (*before, *added)]
    ids = [str(number) for number in range(len(texts))]
    old = len(before)
    base = KeywordIndex.build(ids[:old], texts[:old])
    extended, whole = ExtendedKeywords(base, ids[old:], texts[old:]), KeywordIndex.build(ids, texts)
    asked = " ".join(query)
    assert extended.ids == whole.ids
    for leg in ("words", "titles", "pairs", "grams"):
        said, expected = getattr(extended, leg)(asked), getattr(whole, leg)(asked)
        assert said.dtype == np.float32
        np.testing.assert_array_equal(said[:old], getattr(base, leg)(asked))
        np.testing.assert_array_equal(said > 0, expected > 0)
    np.testing.assert_array_equal(extended.codes("PAY-402"), whole.codes("PAY-402"))
    everywhere = np.arange(len(ids))
    assert extended.matched(query, everywhere) == whole.matched(query, everywhere)


def test_a_word_that_was_added_is_spelt_right() -> None:
    extended = ExtendedKeywords(HELP, ["a", "b"], ["Vouchers\nA voucher.", "Vouchers\nTwo vouchers for a booking."])
    assert extended.corrected("change a vuocher bokking") == "change a voucher booking"
    assert HELP.corrected("change a vuocher booking") == "change a vuocher booking"
