"""When to answer, ask back, refuse or hand over."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Address, Message, Outcome, Role
from agent.policy import (
    MODEL_THRESHOLD,
    QUOTES_THRESHOLD,
    Intent,
    choices_of_ambiguous,
    good_enough,
    has_asked_back,
    intent_of,
    is_thanks,
    leans_on_conversation,
    parts_of,
    wants_person,
)
from knowledge.documents import Passage
from knowledge.search import Hit, SearchResult, Why

# --- a wish for a person

WISHES = """\
agent
representative please!!
speak to human
can I speak with a real person
I'd like to talk to somebody from your team about my refund
get me a manager
are you a bot? I want a human
ich möchte mit einem Menschen sprechen
Kann ich bitte einen Mitarbeiter sprechen?
This bot is useless, real person now
Хочу поговорить с оператором
أريد التحدث مع موظف
Quiero hablar con una persona
Let me talk to a person, please.
human
Human please
I need a human
operator!
real person
live chat
customer service
talk to agent
talk to support
Can you connect me to an agent?
please transfer me to a live agent
I want to speak to your supervisor now
this is useless, give me a human
can I get a human?
Can I have a human please
How can I talk to a person?
how do I speak to someone
I need to speak to someone about my booking
is there someone I can talk to?
Is there anyone I can speak with
who can I talk to about this
could someone call me please
please call me back
I want a callback
I don't want to talk to a bot
no bots please
stop this bot
I'm tired of talking to a robot. human.
Can someone from your team look at this?
please escalate this
I would like to get in touch with a representative
put me through to someone
Why can't I talk to a real person?
I’d like to chat with a live agent
Connect me with customer support
I want to be transferred to a manager
I must speak to a person urgently
Can I please speak to the manager
I want the manager!
My refund never came. I want to talk to a person.
speak to a representative about a charge
Just let me speak to somebody
I need human help
contact a human
how do I contact a real person
Can we talk to one of your agents?
let me speak with someone in charge
hello I need to talk to an agent
i wanna talk to a human
Ich will mit einem Mitarbeiter reden
Kann ich bitte mit jemandem sprechen?
Kann ich mit einem echten Menschen chatten?
Verbinden Sie mich bitte mit einem Mitarbeiter
Mitarbeiter bitte
Ich möchte einen Menschen sprechen
Ich brauche einen Menschen
Können Sie mich mit dem Kundenservice verbinden
Bitte rufen Sie mich zurück
quiero hablar con un agente
¿Puedo hablar con alguien?
Necesito hablar con un humano por favor
agente
Pásame con un supervisor
Je veux parler à une vraie personne
Puis-je parler à quelqu'un ?
Je voudrais parler avec un conseiller
parler à un humain
conseiller
Quero falar com uma pessoa
Quero falar com um atendente
atendente
Posso falar com alguém?
Vorrei parlare con un operatore
Posso parlare con una persona reale?
operatore
Ik wil met een medewerker praten
Kan ik iemand spreken?
Kan ik met een mens praten
medewerker
担当者と話したい
オペレーターにつないでください
人と話したいです
人間と話せますか
转人工
人工客服
我要人工
我想和真人说话
人工
请帮我转客服
상담원 연결해 주세요
상담원
사람과 이야기하고 싶어요
상담원과 통화하고 싶습니다
Is there anyone who I can talk to
I HATE TALKING TO BOTS!!!
Talk to a person
ok, talk to a human
I said talk to an agent
I don’t want a bot, I want a person
Hola, ¿me puede comunicar con un asesor?
"""

NO_WISHES = """\
Can I talk to the host before booking?
How do I contact my agent at the property?
Is there someone at the property when I check in?
Do I have to speak to someone at check-in?
What does a human resources manager earn?
what is my representative number
Thanks, but my refund never came
hi, how do I cancel?
ok and what about pets?
I want to cancel my booking
Can I speak with the host?
I want to chat with my host about parking
How do I contact the host?
Can someone else check in for me?
Can I add a person to my booking?
I need a person added to my booking
I need someone to clean the flat
How many people can stay?
Do I need to talk to an agent to cancel?
Will I need to speak to a person to get my refund?
Can I cancel without talking to a person?
I don't want to talk to a person, just tell me the fee
I already spoke to an agent yesterday and he said I get a refund
Your agent told me I would get €50
An agent cancelled my booking, why?
Is the travel agent fee refundable?
Can a travel agent book for me?
How much goodwill credit may a support agent approve?
What are the opening hours of customer service?
What is the customer service phone number?
I need the customer service number
Can my cleaning staff let the guests in?
Can I connect my calendar to Airbnb?
How do I transfer the money to another person?
Can I transfer my booking to another person?
Can I transfer the booking to someone else?
Can I pass the booking on to a friend?
Can I give my booking to someone else
I want to hand the keys over to someone at the reception
I want to talk about my refund
Can I chat with other guests?
Is there a person at the front desk at night?
Can I talk to someone at the property if the key does not work?
Is there a washing machine? There is no washing machine
the property manager did not answer
Can I contact the property manager?
I want to be a host
Can I get a support animal fee waived
Do you support people with disabilities?
How does the rebooking team help?
Can I bring one more person?
Does the host speak German?
Is there a person limit?
Can the host call me?
How can the rebooking team reach me?
Mit wie vielen Personen darf ich anreisen?
Kann ich mit dem Gastgeber sprechen?
Kann ich mit einer anderen Person anreisen?
Wie storniere ich meine Buchung?
Ist jemand vor Ort?
Kann ich mit jemandem vor Ort sprechen?
¿Puedo hablar con el anfitrión?
Quiero añadir una persona más
¿Cuántas personas pueden dormir?
Puis-je parler à l'hôte avant de réserver ?
Combien de personnes ?
Posso falar com o anfitrião?
Posso parlare con l'host?
Mag ik met de verhuurder praten?
ホストと話せますか
何人まで泊まれますか
友人と話した
人工智能怎么用
我可以和房东聊吗
호스트와 연락할 수 있나요?
상담원은 몇 시까지 근무하나요?
Can I put the booking in the name of another person?
Can you get in touch with the host for me?
I'd like to get a person refunded
Someone is at the door
My agent id is 4411
agent fees?
manager account
How do I become a customer support representative?
How do I reset my password?
Do you have a chat bot API?
is this bot free
Can I speak to my bank about it?
Don't transfer me to an agent? Do I have to talk to one?
Is this home good for people who need support?
I'd like to know whether I have to talk to the host
How do hosts hand over the keys to guests?
Necesito una persona más en la reserva
Preciso de mais uma pessoa na reserva
Combien coûte une personne en plus ?
"""


def others(texts: str, intent: Intent) -> dict[str, Intent]:
    """The lines that are taken for something else."""
    return {text: intent_of(text) for text in texts.splitlines() if intent_of(text) != intent}


def test_a_wish_for_a_person() -> None:
    assert others(WISHES, "person") == {}
    assert all(map(wants_person, WISHES.splitlines()))


def test_talk_about_people_is_no_wish_for_one() -> None:
    assert [text for text in NO_WISHES.splitlines() if intent_of(text) == "person" or wants_person(text)] == []


def test_no_question_of_the_sample_is_taken_for_anything_else(sample: Path) -> None:
    for name in ("questions.jsonl", "unanswerable.jsonl"):
        for line in (sample / name).read_text("utf-8").splitlines():
            text = json.loads(line)["text"]
            # "Write me a poem" and the like may pass for an action: they go the same way.
            assert intent_of(text) in ("question", "action"), text


# --- small talk

GREETINGS = """\
hi
Hello!
hey there
Good morning team
Hi, how are you?
hello???
Hello \N{WAVING HAND SIGN}
Hallo, guten Tag!
hola
Bonjour !
ciao
goedemorgen
olá
你好
こんにちは
안녕하세요
"""

THANKS = """\
thanks
Hi, thanks
Thank you so much!
ok thanks
great, thank you very much \N{THUMBS UP SIGN}
thx
that helps, thanks
no thanks
No, that's all, thank you
Thanks a lot for your help
got it
ok
bye
Danke schön
vielen Dank!
gracias
merci beaucoup
obrigado
grazie mille
dank je wel
谢谢
ありがとうございます
감사합니다
"""


def test_greetings_are_small_talk() -> None:
    assert others(GREETINGS, "small_talk") == {}
    assert not any(map(is_thanks, GREETINGS.splitlines()))


def test_thanks_are_small_talk() -> None:
    assert others(THANKS, "small_talk") == {}
    assert all(map(is_thanks, THANKS.splitlines()))


QUESTIONS = """\
Thanks, but my refund never came
hi, how do I cancel?
ok and what about pets?
ok but why
hello I need help
Hi, my name is Anna
thanks how long
yes
no
help
refund
I want to cancel my booking
How do I cancel my booking?
Can you tell me how to cancel my booking
Cancel my booking, what do I get back?
cancel?
cancellation policy
Change of dates
"""

ACTIONS = """\
Please cancel my booking LK-1234
cancel my booking
Can you cancel my reservation?
Could you please refund me
refund me
send me an invoice
change my dates to May please
I want you to delete my account
Hi, please reset my password
hello there, could you please move my booking to June?
"""


def test_what_is_not_certain_is_a_question() -> None:
    assert others(QUESTIONS, "question") == {}


def test_actions() -> None:
    assert others(ACTIONS, "action") == {}


@pytest.mark.parametrize("text", ["", "  \n", "\N{THUMBS UP SIGN}", "!?…", "\u200b"])
def test_no_words_are_empty(text: str) -> None:
    assert intent_of(text) == "empty"


# --- a crisis

CRISES = """\
I want to kill myself
i\N{RIGHT SINGLE QUOTATION MARK}m thinking about killing myself
I feel suicidal
I want to end my life
i want to die
I am going to hurt myself
I keep cutting myself
I don't want to live anymore
agent, I want to kill myself
ich will mich umbringen
quiero suicidarme
j'ai envie de mourir
quero morrer
voglio morire
ik wil dood
死にたい
我想自杀
자살하고 싶어
"""

NO_CRISES = """\
this app is killing me
this queue is killing me, I want to cancel
I cut myself on a broken glass in the kitchen
I hurt myself on the stairs, who pays?
My kids are dying to see the pool
I want to die of embarrassment
I don't want to live there anymore
my phone wants to die all the time
My boss will kill me if I don't get a refund
Buchungen, die ich gemacht habe
"""


def test_a_crisis_comes_before_everything_else() -> None:
    assert others(CRISES, "crisis") == {}


def test_figures_of_speech_and_accidents_are_no_crisis() -> None:
    assert others(NO_CRISES, "question") == {}


# --- search results


def found(*titles: str, scores: tuple[float, ...] = (), matched: bool = True) -> SearchResult:
    hits = tuple(
        Hit(
            Passage(f"d{n}#1", f"d{n}", title, (), "text", 0), score, Why(0.5, 1.0, 1.0, ("refund",) if matched else ())
        )
        for n, (title, score) in enumerate(zip(titles, scores or (1.0,) * len(titles), strict=True))
    )
    return SearchResult("hybrid", hits, confidence=1.0)


@pytest.mark.parametrize("text", ["refund", "Refund?", "my refund", "refund!!", "退款", "the refund"])
def test_a_bare_word_that_fits_several_articles_is_ambiguous(text: str) -> None:
    assert choices_of_ambiguous(text, found("When refunds arrive", "Cancel", "Cancel")) == (
        "When refunds arrive",
        "Cancel",
    )


@pytest.mark.parametrize(
    "text",
    [
        "When does my refund arrive?",
        "how long does it take",
        "guest service fee refund",
        "PAY-402",
        "我怎么取消我的预订",
        "wifi password?",
    ],
)
def test_a_whole_question_or_a_code_is_not(text: str) -> None:
    assert choices_of_ambiguous(text, found("When refunds arrive", "Cancel")) == ()


def test_a_bare_word_that_fits_one_article_is_not() -> None:
    assert choices_of_ambiguous("refund", found("When refunds arrive", "When refunds arrive")) == ()
    assert choices_of_ambiguous("refund", found("When refunds arrive", "Cancel", scores=(1.0, 0.4))) == ()
    assert choices_of_ambiguous("refund", found("When refunds arrive", "Cancel", matched=False)) == ()
    assert choices_of_ambiguous("refund", SearchResult("hybrid")) == ()


def test_at_most_four_choices() -> None:
    assert len(choices_of_ambiguous("refund", found("a", "b", "c", "d", "e"))) == 4


@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
def test_good_enough_is_a_matter_of_confidence(mode: Literal["hybrid", "keyword"]) -> None:
    hits = found("a").hits
    for generative, threshold in ((True, MODEL_THRESHOLD[mode]), (False, QUOTES_THRESHOLD[mode])):
        assert good_enough("How do I cancel?", SearchResult(mode, hits, confidence=threshold), generative=generative)
        assert not good_enough(
            "How do I cancel?", SearchResult(mode, hits, confidence=threshold - 0.01), generative=generative
        )
        assert not good_enough("How do I cancel?", SearchResult(mode, (), confidence=1.0), generative=generative)


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("How much is it?", ["How much is it?"]),
        (
            "I paid 2.5 euros to a@b.example. Can I have 2.5 back? When will it come?",
            ["Can I have 2.5 back?", "When will it come?"],
        ),
        ("How do I cancel, and when do I get my money?", ["How do I cancel", "when do I get my money?"]),
        ("Really?? Is it so? Are pets and children fine?", ["Is it so?", "Are pets and children fine?"]),
        ("No question at all. None.", ["No question at all. None."]),
    ],
)
def test_the_questions_of_a_message(question: str, parts: list[str]) -> None:
    assert [part.strip() for part in parts_of(question)] == parts


# --- the conversation


def said(role: Role, outcome: Outcome | None = None) -> Message:
    return Message("1", Address("t", "s", "r"), "x", role, "text", datetime.now(UTC), outcome=outcome)


def test_it_has_asked_back_if_its_last_message_did() -> None:
    asked, answered, customer = said("agent", "asked_back"), said("agent", "answered"), said("customer")
    assert has_asked_back([customer, asked, customer])
    assert has_asked_back([customer, asked, said("staff"), customer])
    assert not has_asked_back([customer, asked, customer, answered, customer])
    assert not has_asked_back([customer])
    assert not has_asked_back([])


@pytest.mark.parametrize(
    "text", ["And with PayPal?", "How long does that take?", "why?", "Und wann?", "what about pets"]
)
def test_what_leans_on_the_conversation(text: str) -> None:
    assert leans_on_conversation(text)


def test_what_stands_alone() -> None:
    assert not leans_on_conversation("How long does the host have to answer my booking request?")


# --- hostile text


@settings(deadline=None, max_examples=300)
@given(st.text() | st.lists(st.sampled_from([*WISHES.split(), *NO_WISHES.split(), "don't", ".", "\n"])).map(" ".join))
def test_any_text_has_one_intent(text: str) -> None:
    assert intent_of(text) in ("question", "person", "small_talk", "action", "crisis", "empty")
    assert intent_of(text) == intent_of(text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"))


HOSTILE = [
    "i want ",
    "I don't want to talk to a human. ",
    "mit a ",
    "can i ",
    "a",
    "no no ",
    "thanks ",
    "parler à la la ",
    "\n",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    started = time.process_time()
    intent_of(text)
    choices_of_ambiguous(text, found("a", "b"))
    leans_on_conversation(text)
    parts_of(text)
    assert time.process_time() - started < 5
