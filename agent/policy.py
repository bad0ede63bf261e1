"""When to answer, ask back, refuse or hand over, as far as code can tell. Pure functions over text and search results.

The thresholds were set from data: docs/decisions/threshold.md says from which, and how to set them anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from agent.messages import Message
from knowledge.search import SearchResult

Intent = Literal["question", "person", "small_talk", "action", "crisis", "empty"]

QUOTES_THRESHOLD = {"hybrid": 0.65, "keyword": 0.65}
"""Confidence below which the documents' own words are not offered as an answer."""
MODEL_THRESHOLD = {"hybrid": 0.05, "keyword": 0.05}
"""Confidence below which not even a model, which can judge for itself, is asked."""

_WISH = (
    r"(?:let|get|give|connect|transfer|put|pass|hand|bring)\s+(?:me|us)\b",
    r"\b(?:i|we)(?:'d|\s+would|\s+'d)?\s+(?:really\s+|just\s+|rather\s+)?(?:want|need|like|wish|prefer|demand)\b",
    r"\b(?:can|could|may|might|how\s+(?:can|do|could))\s+(?:i|we)\b",
    r"\b(?:i|we)\s+(?:must|have\s+to)\b",
    r"^\W*(?:please\s+)?(?:talk|speak|chat|connect|transfer|escalate)\b",
    r"\bis\s+there\b",
)
_PERSON = (
    r"(?:a|an|the|some|any|your|one\s+of\s+your)?\s*(?:real|actual|live|human|support|customer[- ]service|service|other)?\s*"
    r"(?:person|human(?:\s+being)?|agents?|representative|rep|operator|advis[eo]r|someone|somebody|people|"
    r"team(?:\s+member)?|staff(?:\s+member)?|manager|supervisor|employee)\b"
)
_TALK = r"(?:talk(?:ing)?|speak(?:ing)?|chat(?:ting)?|connect(?:ed)?|transfer(?:red)?|put\s+through|through|over|in\s+touch)"
_ASKS_FOR_PERSON = re.compile(
    rf"(?:(?:{'|'.join(_WISH)}).{{0,40}}?\b{_TALK}\s+(?:to|with|on\s+to)\s+{_PERSON}"
    rf"|^\W*(?:please\s+)?(?:talk|speak|chat|connect|transfer|escalate)(?:\s+me)?\s+(?:to|with)\s+{_PERSON}"
    r"|\b(?:i|we)\s+(?:want|need|would\s+like)\s+(?:a|an|some)\s+(?:real\s+|live\s+|actual\s+)?(?:person|human|operator|representative)\b"
    r"|^\W*(?:(?:real|live|actual)\s+)?(?:human|person|agent|operator|representative)(?:\s*,?\s*please)?\W*$"
    r"|\bmit\s+(?:einem|einer|ihrem|eurem|jemandem?|jmd)\b.{0,30}\b(?:sprechen|reden|verbinden|chatten)\b"
    r"|\b(?:sprechen|reden)\s+mit\s+(?:einem|einer)\s+(?:menschen|mitarbeiter(?:in)?|person)\b"
    r"|\bhablar\s+con\s+(?:una?\s+)?(?:persona|humano|agente|alguien|operador)"
    r"|\bparler\s+(?:à|a|avec)\s+(?:une?\s+)?(?:personne|humain|agent|conseill|quelqu|vrai)"
    r"|\bfalar\s+com\s+(?:uma?\s+)?(?:pessoa|humano|atendente|algu[ée]m)"
    r"|\bparlare\s+con\s+(?:una?\s+)?(?:persona|umano|operatore|qualcuno)"
    r"|\b(?:met|iemand)\s+(?:een\s+)?(?:mens|medewerker|persoon|iemand)\b.{0,20}\b(?:spreken|praten)\b"
    r"|人工客服|转人工|真人|担当者と|オペレーター|人と話|상담원)",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT_PLACES = re.compile(r"\b(?:at|in)\s+the\s+(?:property|home|house|airport|building|hotel|flat)\b", re.IGNORECASE)

_GREETING = re.compile(
    r"^\W*(?:(?:hi+|hello|hey|howdy|good\s+(?:morning|afternoon|evening|day)|greetings|hiya|yo|hallo|guten\s+(?:tag|morgen|abend)|"
    r"hola|buenos\s+d[ií]as|bonjour|salut|ciao|ol[áa])(?:\s+(?:there|all|everyone|team|support|frontdesk|bot))?)\W*$",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"^\W*(?:(?:ok(?:ay)?|great|perfect|super|cool|awesome|nice|got\s+it|alright)?[\s,.!]*"
    r"(?:thanks?(?:\s+(?:a\s+lot|so\s+much|very\s+much))?|thank\s+you(?:\s+(?:so|very)\s+much)?|thx|ty|cheers|danke(?:\s+sch[öo]n)?|"
    r"merci|gracias|grazie|obrigad[oa]|that\s+helps?|that\s+helped)(?:[\s,]+(?:that\s+helps?|bye|a\s+lot|for\s+(?:the|your)\s+help))?|"
    r"bye+|goodbye|see\s+you|ok(?:ay)?|great|perfect|got\s+it)\W*$",
    re.IGNORECASE,
)
_CRISIS = re.compile(
    r"\b(?:kill|hurt|harm|cut)(?:ing)?\s+my\s?self\b|\bsuicid|\bend\s+my\s+(?:own\s+)?life\b|\bwant\s+to\s+die\b|"
    r"\bmich\s+umbringen\b|\bselbstmord|\bme\s+suicider\b|\bsuicidarme\b|自殺|自杀",
    re.IGNORECASE,
)
_ACTION = re.compile(
    r"^\W*(?:please\s+|pls\s+|can\s+you\s+(?:please\s+)?|could\s+you\s+(?:please\s+)?|i\s+(?:want|need)\s+you\s+to\s+)"
    r"?(?:cancel|refund|change|update|delete|remove|move|book|rebook|send|reset|close|open|charge|pay|give|issue|extend|"
    r"resend|transfer)\s+(?:(?:me|us)\s+(?:a|an|my|the|our)?\s*\w*|my|our|the|this|that)\b(?!.*\?\s*$.*\bhow\b)",
    re.IGNORECASE,
)
_HOW = re.compile(
    r"\b(?:how|what|when|where|why|which|who|do\s+i|can\s+i|may\s+i|will\s+i|is\s+it|are\s+there)\b", re.IGNORECASE
)


def intent_of(text: str) -> Intent:
    """What kind of message this is, where that can be told for certain; everything else is a question."""
    if not any(character.isalnum() for character in text):
        return "empty"
    if _CRISIS.search(text):
        return "crisis"
    if wants_person(text):
        return "person"
    if _GREETING.match(text) or _THANKS.match(text):
        return "small_talk"
    if _ACTION.match(text) and not _HOW.search(text):
        return "action"
    return "question"


def wants_person(text: str) -> bool:
    """Whether the customer asks for a person. Talk *about* people at a place is not such a wish."""
    return bool(_ASKS_FOR_PERSON.search(text)) and not _ABOUT_PLACES.search(text)


def is_thanks(text: str) -> bool:
    """Whether small talk is thanks or good-bye rather than a greeting."""
    return bool(_THANKS.match(text))


def good_enough(found: SearchResult, *, generative: bool) -> bool:
    """Whether what was found is worth answering from."""
    threshold = MODEL_THRESHOLD if generative else QUOTES_THRESHOLD
    return bool(found.hits) and found.confidence >= threshold[found.mode]


_LEANING = re.compile(
    r"^\W*(?:and|or|but|so|then|also|what\s+about|how\s+about|what\s+if|same\s+for|und|oder|aber|y|pero|et|mais|e|ma)\b"
    r"|\b(?:it|its|that|this|they|them|those|these|there|one|ones|instead|as\s+well|too|either|same)\b",
    re.IGNORECASE,
)


def leans_on_conversation(text: str) -> bool:
    """Whether a message probably makes no sense without what was said before it: short, or full of pointing words."""
    words = len(re.findall(r"\w+", text))
    return words <= 3 or (words <= 20 and bool(_LEANING.search(text)))


def has_asked_back(messages: Sequence[Message]) -> bool:
    """Whether the agent's last message was already a question back: it asks only once."""
    last = next((message for message in reversed(messages) if message.role == "agent"), None)
    return last is not None and last.outcome == "asked_back"


def choices_of_ambiguous(text: str, found: SearchResult) -> tuple[str, ...]:
    """Titles to choose from when a message of one or two words fits several documents about equally; else nothing."""
    words = [word for word in re.findall(r"\w+", text) if len(word) > 2]
    if len(words) > 2 or ("?" in text and len(words) > 1):
        return ()
    titles: dict[str, float] = {}
    for hit in found.hits:
        if hit.why.matched:
            titles.setdefault(hit.passage.title, hit.score)
    best = max(titles.values(), default=0.0)
    close = [title for title, score in titles.items() if score >= 0.6 * best]
    return tuple(close[:4]) if len(close) >= 2 else ()
