"""Telling the language of short texts, and keeping silent where it cannot be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.languages import language_told


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


@given(st.text(max_size=300))
def test_any_text_has_a_language_or_none(text: str) -> None:
    assert language_told(text) is None or language_told(text) == language_told(text.strip())
