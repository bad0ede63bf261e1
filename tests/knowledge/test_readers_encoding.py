"""Bytes into text: what is decoded, what is refused, what is cleaned away."""

from __future__ import annotations

import contextlib
import io
import random
import time
import unicodedata
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.errors import ReaderError
from knowledge.readers.encoding import clean, decode, read_text

GERMAN = "Wie viel kostet die Reinigung?\nSie kostet 5 € – für alle Gäste, „früh“ oder spät."
FRENCH = "Combien ça coûte ? Ça coûte 5 € par nuit. Le paiement est débité à la réservation."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("text", [GERMAN, FRENCH, "Prix;5 €", "Café?,Oui", "It’s 5% – no more", "Señor Núñez, ¿qué?"])
def test_western_text_survives(text: str, encoding: str) -> None:
    assert read_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "mark", [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-32-be", b"\0\0\xfe\xff")]
)
def test_a_byte_order_mark_decides_and_goes(mark: tuple[str, bytes]) -> None:
    encoding, sign = mark
    assert read_text(sign + "Größe 😀".encode(encoding)) == "Größe 😀"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Jak anulować rezerwację? Możesz anulować ją w każdej chwili. Zwrot środków następuje w ciągu dni.", "cp1250"),
        ("Как отменить бронирование? Вы можете отменить бронирование в любое время.", "cp1251"),
        ("Как отменить бронирование? Вы можете отменить бронирование в любое время.", "koi8-r"),
        ("Πώς ακυρώνω την κράτηση; Μπορείτε να ακυρώσετε ανά πάσα στιγμή.", "cp1253"),
        (
            "Rezervasyonumu nasıl iptal ederim? İstediğiniz zaman iptal edebilirsiniz. Şu an değişiklik yapılmıyor",
            "cp1254",
        ),
        ("予約をキャンセルするにはどうすればよいですか。いつでもキャンセルできます。", "shift_jis"),
        ("如何取消预订？您可以随时取消预订。退款将在五天内到账。", "gbk"),
        ("예약을 어떻게 취소하나요? 언제든지 예약을 취소할 수 있습니다.", "euc_kr"),
    ],
)
def test_other_legacy_encodings_are_told_from_enough_text(text: str, encoding: str) -> None:
    assert read_text(text.encode(encoding)) == text


def test_a_large_legacy_file_is_read_by_a_sample() -> None:
    text = "Die Übernachtung kostet 5 € für Gäste.\n" * 50_000
    start = time.process_time()
    assert read_text(text.encode("cp1252")) == text
    assert time.process_time() - start < 5


def test_an_ambiguous_encoding_is_refused_rather_than_guessed() -> None:
    with pytest.raises(ReaderError, match="save it as UTF-8"):
        read_text("איך".encode("cp1255"))


def test_utf8_with_a_broken_character_stays_utf8() -> None:
    content = "Über größere Gäste, früh öffnen, schön für alle: ÄÖÜ".encode() + b"\xc3"
    assert read_text(content).startswith("Über größere Gäste")


def test_the_declared_encoding_counts_when_it_is_not_utf8() -> None:
    assert decode("żółw".encode("cp1250"), declared="cp1250") == "żółw"
    assert decode("żółw".encode(), declared="cp1250") == "żółw"


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\x7fELF\x02\x01\x01",
        b"%PDF-1.7\n1 0 obj",
        b"GIF89a plain enough",
        b"\x1f\x8b\x08",
        zip_file(),
        b"text with a \0 byte",
        b"caf\xe9 with a control \x01 character",
        b"\x01\x02\x03\x04\x05\x06",
        b"\xff\xfe\x00",
        b"\xff\xfe\x00\xd8\x00\xd8",
        b"\xff\xfe" + bytes(range(255)),
        "\ufffe\U0010fffe\ue000\ufdd0\ufdd1\ufdd2".encode("utf-16"),
    ],
)
def test_what_is_not_text_is_refused_in_plain_words(content: bytes) -> None:
    with pytest.raises(ReaderError) as caught:
        read_text(content)
    assert caught.value.message.startswith("this is not a text file")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused(seed: int) -> None:
    with pytest.raises(ReaderError):
        read_text(random.Random(seed).randbytes(300))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\r\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("a\x00b\x07c\x1b[0md\x7fe\x9ff", "abc[0mdef"),
        ("tab\tkept\nnewline", "tab\tkept\nnewline"),
        ("lone \ud83d half", "lone  half"),
        ("pair \ud83d\ude00 joined", "pair 😀 joined"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen word\u2060joiner", "zerowidth softhyphen wordjoiner"),
        ("\u202eevil\u202c \u2066isolate\u2069", "evil isolate"),
        ("tag\U000e0041\U000e007fs", "tags"),
        ("e\u0301", "\u00e9"),
        ("می\u200cخواهم 👨\u200d👩\u200d👧 क्\u200dष", "می\u200cخواهم 👨\u200d👩\u200d👧 क्\u200dष"),
    ],
)
def test_clean(written: str, read: str) -> None:
    assert clean(written) == read


def test_piled_up_marks_are_cut_down_quickly() -> None:
    start = time.process_time()
    cleaned = clean("a" + "\u0301\u0323" * 200_000 + "b")
    assert time.process_time() - start < 3
    assert cleaned.endswith("b")
    assert len(cleaned) < 40


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(exclude_categories=())))
def test_cleaning_is_complete_and_changes_nothing_more(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    cleaned.encode("utf-8")
    assert not {unicodedata.category(character) for character in cleaned.replace("\n", "").replace("\t", "")} & {
        "Cc",
        "Cs",
    }


@settings(deadline=None, max_examples=150)
@given(st.binary() | st.binary(max_size=8).map(lambda tail: b"\xff\xfe" + tail))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    with contextlib.suppress(ReaderError):
        assert clean(read_text(content)).encode("utf-8") is not None
