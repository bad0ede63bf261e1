"""When to answer, ask back, refuse or hand over, as far as code can tell. Pure functions over text and search results.

What is not told for certain is a question: the search and the model still see it. The phrases are grouped by language;
text is compared in lower case, with plain apostrophes and single spaces (`_said`), so the patterns need no more.

The thresholds were set from data: docs/decisions/threshold.md says from which, and how to set them anew.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal

from agent.messages import Message
from knowledge.search import SearchResult

Intent = Literal["question", "person", "small_talk", "action", "refuse", "crisis", "empty"]

QUOTES_THRESHOLD = {"hybrid": 0.75, "keyword": 0.7}
"""Confidence below which the documents' own words are not offered as an answer."""
MODEL_THRESHOLD = {"hybrid": 0.02, "keyword": 0.02}
"""Confidence below which not even a model, which can judge for itself, is asked."""

# A wish for a person --------------------------------------------------------------------------------------------------

_KIND = (
    r"(?:(?:real|actual|live|human|physical|proper|different|other|another|customer|guest|host|technical|phone|support|"
    r"service|care|help|sales|billing|call cent(?:er|re)) ){0,3}"
)
_DETERMINER = r"(?:an? |the |some |any |your |another |one of (?:your |the )?)?"
_STAFF = (
    r"(?:person|human(?: being)?|agents?|representatives?|reps?|operators?|advis[eo]rs?|specialists?|consultants?|"
    r"employees?|managers?|supervisors?)"
)
_SOMEONE = (
    rf"(?:{_DETERMINER}{_KIND}(?:{_STAFF}|(?:team|staff)(?: members?)?|support|customer (?:service|care)|help ?desk)|"
    r"(?:some|any)(?:one|body)|(?:real|actual|live|human|your|support) (?:people|persons?|folks?)|one of you(?: guys)?)\b"
)
_TALK = (
    r"(?:(?:talk|speak|chat)(?:ing)? (?:directly )?(?:to|with)|"
    r"(?:connect|transfer|forward|escalate|hand|pass|put)(?:ed|red)?(?: me| us| this| it)?(?: through| over| on)? (?:to|with)|"
    r"in (?:touch|contact) with|(?:get )?through to|(?:get )?hold of)"
)
_WISH = (
    r"(?:\b(?:i|we)(?:'d| would| am| are|'m|'re)? (?:\w+ ){0,2}?"
    r"(?:want|wanna|need|like|love|wish|prefer|demand|request|insist|must|have|got|gotta|asking|trying)\b|"
    r"\b(?:can|can't|could|may|might|when do|how do|how would|where do) (?:i|we|you)\b|"
    r"\b(?:let|get|give|put|please|pls|just)\b|"
    r"(?:^|[.!?,;:\n] ?)(?:ok |so |no |i said )?(?=talk|speak|chat|connect|transfer|escalate))"
)
_HERE = (
    r"(?=$|[^\w ]| (?:please|pls|now|right|asap|instead|immediately|urgently|here|not|rather|who|that|and|or|"
    r"on the (?:phone|line)|for (?:this|that|help)|"
    r"to (?:talk|speak|chat|help|call|contact|assist|answer|look|handle|deal|sort))\b)"
)
_MIT = r"(?:mensch|mitarbeiter|person|berater|jemande|kundenservice|kundendienst|kundenbetreu|support|sachbearbeiter|vorgesetzte)"
_CON = (
    r"con (?:un |una |el |la |su |tu )?(?:persona|humano|ser humano|agente|alguien|operador|asesor|representante|"
    r"supervisor|encargad|gerente|atención al cliente|soporte)"
)
_MET = r"met (?:een |de |uw |jullie )?(?:echte? |echt )?(?:mens|medewerker|persoon|iemand|klantenservice|collega)"

_PERSON_WISHES: Mapping[str, tuple[str, ...]] = {
    "English": (
        rf"{_WISH}[^.!?\n]{{0,40}}?\b{_TALK} {_SOMEONE}",
        rf"\b(?:contact|reach|call|phone) (?:someone|somebody|an? {_KIND}{_STAFF})\b",
        r"\b(?:get|give|send|bring|find|want|need|prefer|request|(?:would|'d) like|(?:can|could|may) i(?: please)? have)"
        r"(?: me| us)?(?: to)?(?: an?| the| your| some)? "
        rf"(?:{_KIND}{_STAFF}|live chat|(?:human|live|real) (?:help|support|assistance|contact)|someone (?:real|human)){_HERE}",
        r"\bis there (?:an? |any ?|some ?)?(?:one|body|human|person|real person|live person|agent|live agent)"
        r"(?: here| there| available)? (?:(?:that|who) )?(?:(?:i|we) (?:can|could) |to )(?:talk|speak|chat)",
        r"\bis (?:there|this) an? (?:human|real person|real human|live (?:agent|person))\b",
        r"\bwho (?:can|could|do) (?:i|we) (?:talk|speak) (?:to|with)\b",
        r"\b(?:can|could) (?:someone|somebody|anyone|you|an? (?:agent|person|human)|one of you)(?: please)? "
        r"(?:call|phone|ring) (?:me|us)\b",
        r"(?:^|[.!?,\n] ?)(?:please |pls )?(?:call|phone|ring) me(?: back)?\b",
        r"\b(?:a|for|want|need|request) (?:a )?call ?-?back\b",
        r"\b(?:someone|somebody|anyone|a person|an? human) (?:from|in|on) your (?:team|staff|company|side)\b",
        r"\bescalate (?:this|it|my|the)\b",
        r"\b(?:real|live|actual) (?:person|human|agent)(?: please)?,? (?:now|asap|please|immediately)\b",
        r"\b(?:no|not|don't want|hate|stop|enough of|tired of|sick of|instead of) (?:\w+ ){0,4}?(?:ro|chat ?)?bots?\b",
        r"\b(?:not|don't want to|hate|stop|tired of|sick of) (?:talk|speak|chat)(?:ing)? (?:to|with) "
        r"(?:an? |this )?(?:machine|computer|ai)\b",
    ),
    "German": (
        rf"\bmit (?:\w+ ){{0,3}}?{_MIT}\w* .{{0,30}}?\b(?:sprechen|reden|chatten|telefonieren|verbinden|verbunden|kontakt)",
        r"\b(?:sprechen|reden|chatten|telefonieren|sprech|verbinden? (?:sie )?mich|kontakt) .{0,15}?mit "
        rf"(?:\w+ ){{0,3}}?{_MIT}",
        r"\b(?:will|möchte|brauche|gib mir|geben sie mir|hätte gerne?) (?:bitte )?(?:mit )?eine?[nr]? (?:\w+en )?"
        r"(?:mensch\w*|mitarbeiter\w*|berater\w*)(?=$|[^\w ]| (?:bitte|sprechen|haben))",
        r"\b(?:zu|an) eine[mnr] (?:\w+en )?(?:mitarbeiter\w*|menschen|berater\w*) (?:durch|weiter|verbinden)",
        r"\b(?:einen?|eine[nm]) (?:\w+en )?(?:mitarbeiter\w*|menschen|berater\w*) (?:bitte )?sprechen\b",
        r"\bruf(?:en sie|t)? mich (?:bitte )?(?:zurück|an)\b|\brückruf\b",
    ),
    "Spanish": (
        rf"\b(?:hablar|chatear|conversar|comunic\w+|conect\w+|contactar|p[aá]s[ae]\w*|ponme|póngame) (?:\w+ )?{_CON}",
        r"\b(?:quiero|necesito|dame|deme) (?:a )?una? (?:persona real|humano|agente|operador|asesor|representante)",
    ),
    "French": (
        r"\b(?:parler|discuter|échanger|parle|passer|transférer|connecter|contacter|joindre|contact)(?: directement| moi)? "
        r"(?:à|a|avec|au|aux)?(?: ?(?:une?|le|la|votre|vrai\w*|véritable)){0,3} ?"
        r"(?:personne|humaine?|être humain|conseill|agent|opérat|quelqu'un|responsable|service client)",
        r"\b(?:veux|voudrais|besoin d') ?(?:une? )?(?:vraie? )?"
        r"(?:personne réelle|vraie personne|humain|conseiller|conseillère)\b",
    ),
    "Portuguese": (
        r"\b(?:falar|conversar|fala|contato|contactar|conectar) (?:diretamente )?com (?:um |uma |o |a |seu )?(?:\w+ )?"
        r"(?:pessoa|humano|ser humano|atendente|alguém|alguem|agente|representante|operador|gerente|suporte)",
        r"\b(?:quero|preciso de|me passa|me passe) (?:para )?uma? (?:atendente|humano|pessoa real|agente|representante)\b",
    ),
    "Italian": (
        r"\b(?:parlare|chattare|parlo|mettermi in contatto|contattare) (?:direttamente )?(?:con )?"
        r"(?:un |una |un'|il |l'|la |vostro )?(?:\w+ )?"
        r"(?:persona|umano|essere umano|operat|agente|qualcuno|responsabile|assistenza|servizio clienti)",
        r"\b(?:voglio|vorrei|mi serve|ho bisogno di) un[ao']? ?(?:persona vera|umano|operatore|operatrice)\b",
    ),
    "Dutch": (
        rf"\b{_MET}\b.{{0,25}}?\b(?:spreken|praten|chatten|bellen|verbinden|doorverbind)",
        rf"\b(?:spreken|praten|spreek|praat|chatten) (?:\w+ )?{_MET}",
        r"\b(?:iemand|een medewerker|een mens|een echt persoon) (?:te )?(?:spreken|aan de lijn)",
    ),
    "Russian": (
        r"(?:поговорить|говорить|связаться|соедините|соединить|переключите|переведите) (?:меня )?(?:с|со|на) (?:\w+ )?"  # noqa: RUF001
        r"(?:оператор|человек|сотрудник|менеджер|специалист|поддержк)",
        r"\b(?:позовите|нужен|хочу) (?:живого |живой )?(?:оператор|человек)",
    ),
    "Arabic": (
        r"(?:التحدث|الحديث|أتحدث|اتكلم|أتكلم|التكلم|التواصل) (?:مع|إلى|الى) (?:\w+ )?"
        r"(?:موظف|شخص|إنسان|انسان|ممثل|مسؤول|خدمة العملاء)",
    ),
    "Japanese": (
        r"(?:担当者?(?:の方)?|オペレーター?|人間|係員|係の方|有人|スタッフ|(?<![個一二三友知他本隣])人)(?:の方|さん)?(?:と|に|へ)"
        r"(?:直接)?.{0,6}?(?:話|はな|繋|つな|代わ|替わ|かわ|相談|連絡を取|チャット|対応)",
        r"有人(?:対応|チャット|サポート)|オペレーター?(?:お願い|希望)|人間の(?:担当|オペレーター?|対応)",
    ),
    "Chinese": (
        r"转人工|轉人工|人工客服|人工服[务務]|真人(?!秀)|(?:找|要|接|联系|聯繫)人工(?!智|费|費)",
        r"(?:和|跟|与|與|找)(?:一[个個位])?(?:客服|客服人[员員]|工作人[员員]|活人|人)"
        r"(?:说话|說話|聊|谈|談|沟通|溝通|通话|通話|对话|對話)",
        r"(?:帮我|幫我|请|請|我要|我想)(?:转|轉|接|找)(?:一下)?(?:到)?客服",
    ),
    "Korean": (
        r"(?:상담원|상담사|직원|담당자)\s?(?:분)?(?:과|와|이랑|하고|에게|한테|으?로)?\s?(?:직접\s?)?"
        r"(?:연결|통화|바꿔|바꾸|이야기|얘기|말하|대화|상담)",
        r"사람(?:과|이랑|하고)\s?(?:직접\s?)?(?:이야기|얘기|통화|말|대화|상담|연결)",
    ),
}
_ASKS_FOR_PERSON = re.compile("|".join(phrase for phrases in _PERSON_WISHES.values() for phrase in phrases))

_JUST_PERSON = re.compile(
    r"(?:\W*(?:please|pls|hi|hello|hey|ok|okay|no|just|need|want|get|give|me|to|a|an|the|i|with|speak|talk|chat|connect|"
    r"contact|call|real|live|actual|human|customer|support|service|now|asap|thanks|bitte|einen?|echte[rn]?|por favor|"
    r"s'il vous plaît|per favore|alstublieft|un|une|uma|una|お願いします|请|請|我要)\b)*+"
)
_PEOPLE = re.compile(
    r"\b(?:agents?|humans?|persons?|people|representatives?|rep|operators?|supervisor|manager|live chat|advis[eo]r|"
    r"(?:customer|human|live) (?:service|support|care|help|chat|agent)|mensch(?:en)?|mitarbeiter(?:in)?|operador|humano|"
    r"agente(?: humano)?|asesor|representante|persona(?: real)?|humain|conseiller|atendente|operatore|operatrice|medewerker|人工|"
    r"客服|オペレーター|상담원|상담사)(?!\w)"
)
_ELSEWHERE = re.compile(
    r"\b(?:(?:at|in|of|from|near) (?:the|my|our|this|that) (?:\w+ )?(?:property|home|house|apartment|flat|villa|cabin|listing|"
    r"building|airport|hotel|reception|desk|bank|check-?in|door|place|village|city|station|host)|to my bank|at check-?in|"
    r"on[- ]?site|when (?:i|we) (?:check|arrive|get there)|vor ort|in der unterkunft|bei (?:der|meiner) ankunft|"
    r"en el alojamiento|sur place)\b"
)
_NOT_WISHED = re.compile(
    r"\b(?:(?:do not|don't|dont) (?:want|need|have|wish|like|wanna)|without|rather than|instead of|no need|"
    r"(?:do|does|did|will|would|should|if|whether) (?:i|we|you|they|guests?|hosts?) (?:have|need)|"
    r"(?:nicht|kein\w*|ohne|no quiero|sin|pas|sans|não quero|sem|non voglio|senza|niet|geen|zonder))\b"
)
_BOT = re.compile(r"bots?\b|machine|computer|\bai\b")


def wants_person(text: str) -> bool:
    """Whether the customer asks for a person. Talk *about* people, such as those at a place, is not such a wish."""
    said = _said(text)
    if len(said) <= 60 and _is_just_people(said):
        return True
    return any(
        not _ELSEWHERE.search(said, found.start(), found.end() + 40)
        and (_BOT.search(found[0]) or not _is_denied(said, found))
        for found in _ASKS_FOR_PERSON.finditer(said)
    )


def _is_just_people(said: str) -> bool:
    """Whether the message is nothing but "agent", "a human please", "representative!!" and the like."""
    around = _PEOPLE.sub("", said)
    return around != said and _JUST_PERSON.sub("", around).strip(" .,!?;:-") == ""


def _is_denied(said: str, found: re.Match[str]) -> bool:
    """Whether the words of a wish belong to "I don't want to ..." or "do I have to ..."."""
    sentence = re.split(r"[.!?\n]", said[max(0, found.start() - 40) : found.start()])[-1]
    return bool(_NOT_WISHED.search(sentence + found[0]))


def _said(text: str) -> str:
    """What was said, however it was typed: lower case, plain apostrophes, single spaces."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'").replace("`", "'")
    return re.sub(r"[^\S\n]+", " ", plain).strip()


# Small talk -----------------------------------------------------------------------------------------------------------

_GREETINGS = (
    "hi, hii, hello, helo, hey, heya, hiya, howdy, yo, sup, greetings, good morning, good afternoon, good evening, good day, "
    "morning, evening, how are you, how are you doing, how are you today, how's it going, what's up, nice to meet you, "
    "hope you are well, anyone there, anybody there, is anyone there, is anybody there, are you there, test, testing, "
    "hallo, guten tag, guten morgen, guten abend, moin, servus, grüß gott, grüezi, wie geht's, "
    "hola, buenos días, buenos dias, buenas, buenas tardes, buenas noches, qué tal, "
    "bonjour, bonsoir, salut, coucou, ça va, olá, ola, oi, bom dia, boa tarde, boa noite, tudo bem, "
    "ciao, salve, buongiorno, buonasera, goedemorgen, goedemiddag, goedenavond, goedendag, hoi, "
    "こんにちは, こんばんは, おはよう, おはようございます, はじめまして, 你好, 您好, 你们好, 早上好, 晚上好, 嗨, 안녕, 안녕하세요"
)
_THANKS = (
    "thanks, thank you, thankyou, thank u, thx, thnx, tnx, ty, tysm, cheers, much appreciated, appreciate it, "
    "i appreciate it, many thanks, thanks a lot, thanks a bunch, thanks a million, thanks so much, thank you so much, "
    "thank you very much, thanks again, for your help, for the help, for helping, for the info, for the information, "
    "for your time, that helps, that helped, that's helpful, very helpful, that works, that worked, it works, it works now, "
    "it worked, that's all, that is all, that's it, that's everything, that was all, nothing else, all good, all set, "
    "i'm good, ok, okay, k, kk, okey, great, perfect, super, cool, nice, awesome, excellent, wonderful, amazing, fantastic, "
    "brilliant, lovely, good, good to know, fine, alright, all right, sounds good, got it, understood, i see, makes sense, "
    "no problem, no worries, bye, bye bye, goodbye, good bye, see you, see ya, cya, good night, have a nice day, "
    "have a good day, have a great day, you too, "
    "danke, danke schön, dankeschön, danke dir, danke sehr, vielen dank, vielen lieben dank, besten dank, herzlichen dank, "
    "alles klar, passt, tschüss, tschüs, auf wiedersehen, "
    "gracias, muchas gracias, mil gracias, vale, adiós, adios, hasta luego, merci, merci beaucoup, merci bien, "
    "mille mercis, d'accord, au revoir, obrigado, obrigada, muito obrigado, muito obrigada, valeu, tchau, até logo, "
    "grazie, grazie mille, tante grazie, va bene, arrivederci, dank je, dank je wel, dank u, dank u wel, bedankt, "
    "hartelijk dank, doei, ありがとう, ありがとうございます, ありがとうございました, どうも, 了解, 了解です, わかりました, "
    "谢谢, 謝謝, 谢谢你, 谢谢您, 多谢, 感谢, 好的, 明白了, 再见, 감사합니다, 고마워, 고마워요, 고맙습니다, 알겠습니다"
)
_AROUND_SMALL_TALK = (
    "a lot, again, all, and, bot, both, buddy, dear, everyone, folks, friend, frontdesk, guys, here, indeed, just, kindly, "
    "man, mate, much, no, now, oh, really, sir, madam, so, so much, support, team, then, there, to you, today, very, "
    "very much, well, wow, yes, yeah, you, zusammen, a todos, à tous, a tutti"
)
_SMALL_TALK: Mapping[str, str] = {
    phrase: kind
    for kind, phrases in (("around", _AROUND_SMALL_TALK), ("greeting", _GREETINGS), ("thanks", _THANKS))
    for phrase in phrases.split(", ")
}
_LONGEST_PHRASE = max(len(phrase.split()) for phrase in _SMALL_TALK)


def is_thanks(text: str) -> bool:
    """Whether small talk is thanks or good-bye rather than a greeting."""
    return "thanks" in _small_talk(text)


def _small_talk(text: str) -> frozenset[str]:
    """The kinds of phrases the message is made of; nothing if there is anything else in it, such as a question."""
    words = re.findall(r"\w+(?:'\w+)*", _said(text))
    if len(words) > 14:
        return frozenset()
    kinds = set()
    at = 0
    while at < len(words):
        for size in range(_LONGEST_PHRASE, 0, -1):
            kind = _SMALL_TALK.get(" ".join(words[at : at + size]))
            if kind:
                break
        else:
            return frozenset()
        kinds.add(kind)
        at += size
    return frozenset(kinds - {"around"})


# A crisis -------------------------------------------------------------------------------------------------------------

_CRISIS_PHRASES: Mapping[str, tuple[str, ...]] = {
    # "I cut myself on a glass in the kitchen" is an accident, "this app is killing me" a complaint.
    "English": (
        r"\bkill(?:ing)? my ?self\b(?! (?:laughing|with))",
        r"\b(?:want|wanting|going|about|plan\w*|thinking|think|feel\w*|thoughts?|urges?|like|tempted|keep|might|could|will|gonna|"
        r"wanna)(?: \w+){0,2} (?:hurt|harm|cut|injur)(?:t?ing|e)? my ?self\b",
        r"\bself[- ]?harm(?:ing)?\b|\bsuicid(?:e|al)\b(?! (?:squad|door))",
        r"\b(?:end|take|ending|taking) my (?:own )?life\b|\bend it all\b",
        r"\b(?:want|wanna|wish|ready) (?:to die|i (?:was|were) dead)\b(?! (?:of|from|laughing))",
        r"\b(?:don't|do not|dont) want to (?:live|be alive|exist)\b(?! (?:here|there|in|at|with|next|near))",
        r"\bno reason to live\b|\bbetter off dead\b",
    ),
    "German": (
        r"\bmich umbringen\b|\bmir das leben nehmen\b|\bselbstmord|\bsuizid|\bnicht mehr leben\b|\bwill sterben\b",
    ),
    "Spanish": (
        r"\bsuicid|\bmatarme\b|\bme quiero matar\b|\bquitarme la vida\b|\bquiero morir|\bno quiero (?:vivir|seguir viviendo)\b",
    ),
    "French": (
        r"\bme suicider\b|\bme tuer\b|\bfin à mes jours\b|\ben finir avec la vie\b|\b(?:envie de|veux) mourir\b",
    ),
    "Portuguese": (r"\bsuicíd|\bme matar\b|\btirar (?:a )?minha (?:própria )?vida\b|\bquero morrer\b",),
    "Italian": (r"\buccidermi\b|\bammazzarmi\b|\btogliermi la vita\b|\bvoglio morire\b",),
    "Dutch": (r"\bzelfmoord|\bsuïcid|\bmezelf van het leven\b|\bik wil dood\b|\bniet meer leven\b",),
    "Japanese": (r"自殺|死にたい(?!ほど|くらい)|消えてしまいたい",),
    "Chinese": (r"自杀|自殺|想死|不想活|结束(?:自己的)?生命|輕生|轻生",),
    "Korean": (r"자살|죽고\s?싶(?!을 만큼)|살고\s?싶지\s?않",),
}
_CRISIS = re.compile("|".join(phrase for phrases in _CRISIS_PHRASES.values() for phrase in phrases))


# An action ------------------------------------------------------------------------------------------------------------

_MY = r"(?:my|our|the|this|that|these|those|me|us|mine|booking|reservation|order)\b"
_ACTION = re.compile(
    r"\W*(?:(?:please|pls|kindly|just|now|can you|could you|would you|will you|i (?:want|need|would like) you to|"
    r"i'd like you to|go ahead and|hi|hello|hey)[ ,!.]+(?:there[ ,!.]+)?){0,4}"
    r"(?:cancel|refund|change|update|delete|remove|move|book|rebook|send|reset|close|reopen|open|charge|pay|give|issue|extend|"
    r"resend|transfer|activate|deactivate|unsubscribe|add|verify|confirm|approve|waive|correct|fix) "
    r"(?:my|our|the|this|that|these|those|me|us|mine|booking|reservation|order)\b"
)
"""In English alone: what is told from it is the agent's own English sentence that it cannot do such things itself."""
_ASKS = re.compile(
    r"\b(?:how|what|when|where|why|which|who|do i|can i|may i|will i|is it|is there|are there|tell me)\b"
)


MOST_PARTS = 3
"""Questions of one message that are looked up and answered each for itself."""
_SENTENCE = re.compile(r".+?(?:[.!?]{1,5}(?=\s|\Z)|[。！？]{1,5}|\Z)", re.DOTALL)  # noqa: RUF001
_IS_QUESTION = re.compile(r"[?？]")  # noqa: RUF001
_SPACED = re.compile(r"^[\u0000-\u0dff\u1e00-\u1fff]+$")
"""A word of a script that puts spaces between words; in others a whole sentence looks like one word."""
_JOINED = re.compile(
    r",?\s+(?:and|or|und|y|et)\s+(?=(?:also\s+)?(?:how|what|when|where|who|why|which|do|does|is|are|can|will|wie|wann|wo|was)\b)",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(?<!booking )(?<!order )(?<!reservation )(?<!ticket )(?<!invoice )(?<!reference )(?<!number )(?<![\w-])"
    r"([A-Z]{1,6}[-_]?\d{2,5})(?![\w-])"
)
"""Such as PAY-402 or D400; longer numbers, and what stands behind "booking", are a customer's own."""


def intent_of(text: str) -> Intent:
    """What kind of message this is, where that can be told for certain; everything else is a question."""
    if not any(character.isalnum() for character in text):
        return "empty"
    said = _said(text)
    if _CRISIS.search(said):
        return "crisis"
    if wants_person(text):
        return "person"
    if _small_talk(text):
        return "small_talk"
    if _ACTION.match(said) and not _ASKS.search(said):
        return "action"
    return "question"


# Search results -------------------------------------------------------------------------------------------------------


def good_enough(question: str, found: SearchResult, *, generative: bool) -> bool:
    """Whether what was found is worth answering from."""
    if not found.hits or (not generative and names_unknown_code(question, found)):
        return False
    return found.confidence >= (MODEL_THRESHOLD if generative else QUOTES_THRESHOLD)[found.mode]


def names_unknown_code(question: str, found: SearchResult) -> bool:
    """Whether the question is about an error code or a model that no passage found has: another's meaning is no answer."""
    codes = [code.lower() for code in _CODE.findall(question)]
    known = {word for hit in found.hits for word in hit.why.matched}
    return bool(codes) and not any(re.sub(r"\W", "", code) in known for code in codes)


def parts_of(question: str) -> list[str]:
    """The questions in a message: its sentences with a question mark, and what "and when", "and how" ... join."""
    asked = [sentence for sentence in _SENTENCE.findall(question) if _IS_QUESTION.search(sentence)]
    pieces = [piece for sentence in asked for piece in _JOINED.split(sentence) if len(re.findall(r"\w+", piece)) >= 3]
    return pieces[:MOST_PARTS] if len(pieces) > 1 else [question]


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
    words = re.findall(r"\w+", text)
    whole = len(words) > (1 if _IS_QUESTION.search(text) else 2) or any(
        len(word) > 4 and not _SPACED.match(word) for word in words
    )
    if whole or any(character.isdigit() for character in text):
        return ()
    most = max((len(hit.why.matched) for hit in found.hits), default=0)
    titles: dict[str, float] = {}
    for hit in found.hits:
        if most and len(hit.why.matched) == most:
            titles.setdefault(hit.passage.title, hit.score)
    best = max(titles.values(), default=0.0)
    close = [title for title, score in titles.items() if score >= 0.6 * best]
    return tuple(close[:4]) if len(close) >= 2 else ()
