"""Which language texts are in, as far as it matters for search: what to stem, and which words say nothing.

Told by the most common words of each language, of which every text is full, and by script where words are not separated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

ENGLISH = "english"
_WESTERN = (
    "english",
    "german",
    "french",
    "spanish",
    "italian",
    "portuguese",
    "dutch",
    "swedish",
    "norwegian",
    "danish",
)
_LISTED = {
    "catalan": "i a el la els les de del dels al que en un una per amb és no es ho si més com però això aquest aquesta són "
    "també pot heu teniu vostre ser on quan",
    "czech": "a v na se je že to s z do o k i pro by ale jak za od po které který která jsou jako nebo pokud při být lze může "
    "můžete si vás také aby před není podle tak když už jen",
    "estonian": "ja on ei et see kui ka mis või oma selle siis kes aga saab kas ning mida seda teie kuidas saate olla peab "
    "enne pärast nii",
    "finnish": "ja on ei että se jos kun voi tai myös ovat joka niin kuin mutta sen oli ole olla tämä tämän voit miten siitä "
    "sinun mitä ennen jälkeen vain kanssa kuinka tästä sekä ne",
    "hungarian": "a az és hogy nem is egy meg van ha de ez vagy azt csak lehet kell ezt mint el már még be ki fel amely amikor "
    "után előtt szerint lesz ön hogyan mi",
    "indonesian": "yang dan di untuk dengan dari ini tidak anda dalam atau akan pada itu ke jika dapat adalah saya bisa kami "
    "oleh juga sudah setelah sebelum bagaimana apa kapan",
    "lithuanian": "ir į su iš kad yra tai ne ar už bet kaip jei nuo po prie arba gali būti jūs jūsų apie per dėl kai iki tik "
    "kur galite",
    "polish": "i w na z się nie do że to jest o jak za od po dla czy są lub jeśli może przez oraz być można przed tym który "
    "która które ale tak jego gdy aby mogę pan pani",
    "romanian": "și în de la cu o un pe nu este că a să din sau care pentru se mai sunt dacă dumneavoastră poate după ce cum "
    "puteți fi prin înainte când ați am",
}
"""The most common words of languages that bm25s has no list for and PyStemmer has a stemmer."""
SPACED = (*_WESTERN, "russian", "turkish", "korean", *_LISTED)
_ENOUGH = 0.12
"""The share of its words that are among a language's most common ones; a quarter to a half in real text."""
_LOOK_AT = 60_000
"""Characters that are looked at."""
_SCRIPTS = (
    ("japanese", re.compile("[\u3040-\u30ff]")),
    ("chinese", re.compile("[\u4e00-\u9fff]")),
    ("thai", re.compile("[\u0e00-\u0e7f]")),
    ("korean", re.compile("[\uac00-\ud7a3]")),
    ("greek", re.compile("[\u0370-\u03ff]")),
    ("hebrew", re.compile("[\u0590-\u05ff]")),
    ("arabic", re.compile("[\u0600-\u06ff]")),
    ("hindi", re.compile("[\u0900-\u097f]")),
    ("tamil", re.compile("[\u0b80-\u0bff]")),
)
_WORD = re.compile(r"[^\W\d_]+")


@cache
def common_words(language: str) -> frozenset[str]:
    """The words that say nothing of what a text is about, in lower case; none for a language without a list."""
    if language in _LISTED:
        return frozenset(_LISTED[language].split())
    import bm25s

    name = "EN_PLUS" if language == ENGLISH else language.upper()
    return frozenset(str(word).lower() for word in getattr(bm25s.stopwords, f"STOPWORDS_{name}", ()))


def language_of(texts: Iterable[str]) -> str:
    """The language that most of `texts` are in, by its English name in lower case; English when it cannot be told."""
    sample = ""
    for text in texts:
        sample += f"{text[:600]}\n"
        if len(sample) > _LOOK_AT:
            break
    for language, script in _SCRIPTS:
        if len(script.findall(sample)) > len(sample) / 10:
            return language
    words = [word.lower() for word in _WORD.findall(sample)]
    common = {language: common_words(language) for language in SPACED}
    shares = {language: sum(word in listed for word in words) for language, listed in common.items()}
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= _ENOUGH * max(len(words), 1) else ENGLISH


_FEW_WORDS = 4
_CLEARLY = 1.6
"""How many times more of its common words a text must have than of any other language's."""


def language_told(text: str) -> str | None:
    """The language a short text is certainly in, by its English name in lower case; `None` when it cannot be told."""
    for language, script in _SCRIPTS:
        if len(script.findall(text)) > len(text) / 5:
            return language
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < _FEW_WORDS:
        return None
    counts = sorted(((sum(word in common_words(one) for word in words), one) for one in SPACED), reverse=True)
    (most, language), (second, _) = counts[:2]
    sure = most >= _FEW_WORDS - 1 and most >= 2 * _ENOUGH * len(words) and most >= _CLEARLY * second
    return language if sure else None
