"""Telling the language of short texts, and keeping silent where it cannot be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.keywords.languages import SPACED, common_words, language_of, language_told


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How can I cancel my booking for free?", "english"),
        ("You can cancel up to 5 days before check-in for a full refund. [1]", "english"),
        ("Wie kann ich meine Buchung kostenlos stornieren?", "german"),
        ("Sie können bis 5 Tage vor der Anreise kostenlos stornieren. [1]", "german"),
        ("Come posso cancellare la mia prenotazione gratis?", "italian"),
        ("予約をキャンセルできますか", "japanese"),
        ("ok danke", None),
        ("Check-in is at 15:00.", None),
        ("ERR_4711", None),
        ("", None),
    ],
)
def test_a_language_is_told_only_when_it_is_certain(text: str, language: str | None) -> None:
    assert language_told(text) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (
            "Voit peruuttaa varauksen, jos et ole vielä maksanut sitä. Rahat ovat tilillä ennen kuin lomasi alkaa.",
            "finnish",
        ),
        ("A foglalás lemondható, ha még nem kezdődött el, és a pénz egy hét után visszajár.", "hungarian"),
        ("Rezervaci můžete zrušit, pokud je to aspoň týden před příjezdem, a peníze se vám vrátí na účet.", "czech"),
        ("Rezerwację można anulować, jeśli jest to co najmniej tydzień przed przyjazdem, i nie ma opłat.", "polish"),
        ("Puteți anula rezervarea dacă nu a început și primiți banii înapoi în cont după o săptămână.", "romanian"),
        ("Anda dapat membatalkan pemesanan jika belum dimulai, dan uang akan kembali pada minggu itu.", "indonesian"),
        ("예약은 체크인 하루 전까지 무료로 취소할 수 있습니다.", "korean"),
        ("Μπορείτε να ακυρώσετε την κράτηση δωρεάν.", "greek"),
        ("يمكنك إلغاء الحجز مجانًا.", "arabic"),
        ("אפשר לבטל את ההזמנה בחינם.", "hebrew"),
        ("आप बुकिंग मुफ़्त में रद्द कर सकते हैं।", "hindi"),
        ("Cancel a booking", "english"),
        ("", "english"),
    ],
)
def test_documents_tell_their_language(text: str, language: str) -> None:
    assert language_of([text]) == language


def test_every_language_has_common_words_of_its_own() -> None:
    lists = {language: common_words(language) for language in SPACED}
    assert all(len(words) >= 20 for words in lists.values())
    assert len(set(lists.values())) == len(lists)


@given(st.text(max_size=300))
def test_any_text_has_a_language_or_none(text: str) -> None:
    assert language_told(text) is None or language_told(text) == language_told(text.strip())
