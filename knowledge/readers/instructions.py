"""Text that speaks to a machine rather than to a reader: found by rules, so that staff can look before it is published.

The rules want an order and its object together ("ignore … instructions"), because support articles are full of either
alone. `tests/knowledge/test_instructions.py` holds them to ordinary documents: what they flag there is counted.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from knowledge.readers import Finding

_AROUND = 60
"""Characters on each side of what was found that are shown with it."""

_MACHINE = (
    r"(?:(?:large\s+)?language\s+models?|llms?|a\.?i\.?(?:\s+(?:agents?|assistants?|models?|systems?|chatbots?|bots?))?"
    r"|chat\s?bots?|chatgpt|gpt(?:-\d\w*)?|gemini|copilot)"
)


def _order(verbs: str, which: str, what: str, no: str) -> str:
    """The order to ignore (`verbs`) all, or the earlier, or your (`which`) instructions (`what`), without a negation.

    `which` may stand before or after what it belongs to.
    """
    gap = r"[\s,:]+(?:[\w'’-]+[\s,]+){0,4}?"
    return (
        rf"(?<!\bне\s)(?<!\bno\s)(?<!\bnie\s)(?<!\bnon\s)(?<!\bnão\s)\b(?:{verbs})(?!\s+(?:\w+\s+)?(?:{no})\b)"
        rf"(?:{gap}(?:{which}){gap}(?:{what})\b|{gap}(?:{what})\s+(?:\w+\s+)?(?:{which})\b)"
    )


_OVERRIDES: tuple[tuple[str, str], ...] = (
    (
        "instruction prompt guideline direction directive command guardrail programming system",
        r"(?<!not )(?<!n't )(?<!n’t )(?<!never )"
        r"\b(?:ignore|disregard|forget|override|bypass|overlook|do\s+not\s+follow|don['’]t\s+follow|stop\s+following)"
        r"\s+(?:(?:all|any|every|each|the|these|those|your|my|of|previous|previously|prior|above|earlier|preceding|"
        r"foregoing|former|existing|current|system|safety|original|initial|given|other|and|or)\s+){1,7}"
        r"(?:instructions?|prompts?|guidelines?|directions|directives?|commands?|guardrails?|programming|"
        r"system\s+messages?)\b",
    ),
    (
        "ignorier missacht vergiss vergessen übergeh überschreib",
        _order(
            r"ignorier\w*|missacht\w*|vergiss|vergessen\s+sie|übergeh\w*|überschreib\w*",
            r"alle\w*|vorherig\w*|bisherig\w*|vorangegangen\w*|obig\w*|früher\w*|dein\w*|ihre|oben|system",
            r"anweisung\w*|instruktion\w*|vorgaben|prompts?|systemanweisung\w*",
            r"nicht",
        ),
    ),
    (
        "ignor oubli compte",
        _order(
            r"ignor(?:e|ez|er)|oubli(?:e|ez|er)|ne\s+(?:tiens|tenez)\s+pas\s+compte\s+d\w*",
            r"toutes?|précédent\w*|antérieur\w*|ci-dessus|tes|vos|initial\w*|système",
            r"instructions?|consignes?|directives?|invites?|prompts?",
            r"pas|jamais",
        ),
    ),
    (
        "instrucci indicaci directrices órdenes prompt",
        _order(
            r"ignor(?:a|e|en|ar|ad)|olvid(?:a|e|en|ar)|desatiend(?:e|a)|haz\s+caso\s+omiso",
            r"tod[ao]s|anterior\w*|previ[ao]s|tus|sus|inicial\w*|sistema",
            r"instrucci(?:ones|ón)|indicaciones|directrices|órdenes|prompts?",
            r"no|nunca",
        ),
    ),
    (
        "instruç instruc orientaç diretriz comando prompt",
        _order(
            r"ignor(?:e|em|a|ar)|esque[çc](?:a|am|er)|desconsider(?:e|em|ar)",
            r"tod[ao]s|anterior\w*|prévi[ao]s|suas?|tuas?|inicia\w*|sistema",
            r"instruç(?:ões|ão)|instrucoes|orientações|diretrizes|comandos|prompts?",
            r"não|nunca",
        ),
    ),
    (
        "istruzion indicazion direttiv comandi prompt",
        _order(
            r"ignor(?:a|ate|i|are)|dimentica(?:te|re)?|trascura(?:te|re)?",
            r"tutt[ei]|precedent\w*|tue|tuoi|vostre|inizial\w*|sistema",
            r"istruzion[ei]|indicazioni|direttive|comandi|prompt",
            r"non|mai",
        ),
    ),
    (
        "negeer vergeet",
        _order(
            r"negeer|vergeet",
            r"alle|vorige|eerdere|bovenstaande|voorgaande|je|jouw|uw|systeem",
            r"instructies?|aanwijzingen|opdrachten|richtlijnen|prompts?",
            r"niet|nooit",
        ),
    ),
    (
        "ignorera glöm bortse",
        _order(
            r"ignorera|glöm|bortse\s+från",
            r"alla|tidigare|föregående|ovanstående|dina",
            r"instruktion\w*|anvisning\w*|prompt\w*",
            r"inte|aldrig",
        ),
    ),
    (
        "ignoruj zapomnij pomiń",
        _order(
            r"z?ignoruj\w*|zapomnij\w*|pomiń\w*",
            r"wszystk\w*|poprzedni\w*|wcześniejsz\w*|powyższ\w*|swo\w*|twoj\w*",
            r"instrukcj\w*|polece\w*|wytyczn\w*|prompt\w*",
            r"nie|nigdy",
        ),
    ),
    (
        "ignoruj zapomeň",
        _order(
            r"ignoruj\w*|zapomeň\w*",
            r"všechny|předchozí\w*|předešl\w*|výše|své|tvé|dřívější\w*",
            r"instrukc\w*|pokyn\w*|prompt\w*",
            r"ne",
        ),
    ),
    (
        "игнорируй забудь обращай",
        _order(
            r"(?:про)?игнорируй\w*|забудь\w*|не\s+обращай\w*\s+внимания\s+на",
            r"все|всё|предыдущ\w*|прежн\w*|прошл\w*|вышеуказанн\w*|свои|твои|системн\w*",
            r"инструкци\w*|указани\w*|команд\w*|промпт\w*",
            r"не|никогда\s+не",
        ),
    ),
    (
        "ігноруй забудь",
        _order(
            r"(?:про)?ігноруй\w*|забудь\w*",
            r"усі|всі|попередн\w*|вищезазначен\w*|свої|твої|системн\w*",
            r"інструкці\w*|вказівк\w*|команд\w*|промпт\w*",
            r"не|ніколи\s+не",
        ),
    ),
    (
        "talimat komut yönerge",
        r"\b(?:önceki|yukarıdaki|tüm|bütün|sistem)\s+(?:\w+\s+){0,3}?(?:talimat\w*|komut\w*|yönerge\w*)\s+"
        r"(?:\w+\s+){0,2}?(?:yok\s*say(?!ma)\w*|görmezden\s+gel(?!me)\w*|unut(?!ma)\w*|dikkate\s+alma\w*)\b",
    ),
    (
        "忽略 无视 忽視 無視 忘记 忘記 不要",
        r"(?<!不要)(?<!请勿)(?<!別)(?<!别)(?<!不得)(?:忽略|无视|忽視|無視|忘记|忘記|不要理会|不要遵守)[^。！？\n]{0,6}?"
        r"(?:之前|以上|上述|先前|前面|所有|一切|全部|系统|你的|原来)[^。！？\n]{0,8}?"
        r"(?:指令|指示|提示词|提示詞|提示|命令|系统消息)",
    ),
    (
        "無視 忘れ 破棄",
        r"(?:これまで|以前|前|上記|上|すべて|全て|全部|システム)[^。\n]{0,6}?(?:指示|命令|プロンプト|指令)(?:を|は)?"
        r"(?:すべて|全て|全部)?(?:無視|忘れ|破棄)(?!しない|せず|ない|しては)",
    ),
    (
        "무시 잊",
        r"(?:이전|위의|모든|기존|시스템)[^.\n]{0,8}?(?:지시|명령|프롬프트|지침)[^.\n]{0,6}?(?:무시|잊)(?!하지|지\s*마)",
    ),
    (
        "التعليمات تعليمات الأوامر التوجيهات",
        r"(?<!\w)(?:تجاهل|تجاهلي|انس|انسَ|تجاهلوا)\s+(?:\w+\s+){0,3}?\w*(?:التعليمات|تعليمات|الأوامر|التوجيهات)",
    ),
    (
        "निर्देश आदेश",
        r"(?:पिछले|पूर्व|सभी|ऊपर)[^।\n]{0,20}?(?:निर्देश|निर्देशों|आदेश|आदेशों)[^।\n]{0,10}?(?:अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल)(?!\s*(?:न|ना|मत)\s)",
    ),
)

_NOW: tuple[tuple[str, str], ...] = (
    (
        "you_are_now you_are_no you_are_henceforth you_are_from",
        r"\byou\s+are\s+(?:now|henceforth|no\s+longer|from\s+now\s+on)\s+(?:\w+\s+){0,4}?" + _MACHINE + r"\b"
        r"|\byou\s+are\s+(?:now|no\s+longer)\s+(?:an?\s+)?(?:\w+\s+){0,2}?(?:dan\b|jailbroken|unrestricted|unfiltered|"
        r"uncensored|in\s+developer\s+mode|bound\s+by)",
    ),
    (
        "from_now_on",
        r"\bfrom\s+now\s+on,?\s+(?:you\s+(?:must\s+|will\s+|shall\s+|should\s+)?(?:only\s+|always\s+)?|always\s+"
        r"|only\s+)?(?:respond|reply|answer|speak|act|behave|pretend|obey)\b",
    ),
    (
        "unrestricted uncensored unfiltered jailbroken evil",
        r"\b(?:act|behave|respond|pretend|roleplay)\s+(?:as|like|to\s+be)\s+(?:if\s+(?:you\s+(?:are|were)\s+)?)?"
        r"(?:an?\s+|the\s+)?(?:unrestricted|uncensored|unfiltered|jailbroken|evil)\b",
    ),
    (
        "du_bist sie_sind",
        r"\b(?:du\s+bist|sie\s+sind)\s+(?:jetzt|nun|ab\s+sofort)\s+(?:\w+\s+){0,3}?(?:ki|assistent\w*|sprachmodell|chatbot)\b",
    ),
    (
        "tu_es vous_êtes",
        r"\b(?:tu\s+es|vous\s+êtes)\s+(?:maintenant|désormais)\s+(?:\w+\s+){0,3}?(?:ia|assistant|modèle|chatbot)\b",
    ),
    (
        "ahora_eres agora_você ora_sei adesso_sei",
        r"\b(?:ahora\s+eres|agora\s+você\s+é|ora\s+sei|adesso\s+sei)\s+(?:\w+\s+){0,3}?(?:ia|asistente|assistente|modelo|chatbot)\b",
    ),
    ("теперь_ты", r"\bтеперь\s+ты\s+(?:\S+\s+){0,3}?(?:ии|ассистент|бот|чат-бот)\b"),
    ("你现在", r"你现在(?:是|扮演).{0,10}?(?:助手|模型|机器人|AI)"),
    ("あなたは", r"(?:今から|これから)あなたは.{0,12}?(?:アシスタント|AI|モデル|ボット)"),
)

_TO_MACHINES: tuple[tuple[str, str], ...] = (
    ("if_you_are", r"\bif\s+you\s+are\s+(?:an?|the)\s+" + _MACHINE + r"\b"),
    (
        "note notice message attention important instruction reminder warning",
        r"\b(?:(?:note|notice|message|important|instructions?|reminder|warning)\s*(?:to|for|:)|attention:?)\s*"
        r"(?:all\s+|any\s+|the\s+)?" + _MACHINE + r"\b(?!\s+(?:users?|customers?|features?|add-?ons?|plans?))",
    ),
    ("dear hey hello", r"\b(?:dear|hey|hello)\s+" + _MACHINE + r"\b\s*[,:!]"),
    (
        "reading_this processing_this summarizing_this summarising_this indexing_this",
        _MACHINE + r"\s+(?:reading|processing|summari[sz]ing|indexing)\s+this\b",
    ),
    (
        "system_prompt initial_prompt hidden_prompt hidden_instructions system_message",
        r"\b(?:reveal|disclose|leak|print|output|repeat|show|tell\s+me)\s+(?:\w+\s+){0,3}?(?:your|the|its)\s+"
        r"(?:\w+\s+){0,2}?(?:system\s+prompt|initial\s+prompt|hidden\s+prompt|hidden\s+instructions|system\s+message)\b",
    ),
    (
        "systemprompt system-prompt system_prompt systemanweisung",
        r"\b(?:zeige?|verrate?|nenne?|gib)\s+(?:\w+\s+){0,3}?(?:system-?\s?prompt|systemanweisung\w*)\b",
    ),
    (
        "prompt invite_système",
        r"\b(?:révèle[rz]?|montre[rz]?|affiche[rz]?)\s+(?:\w+\s+){0,3}?(?:prompt|invite)\s+système\b"
        r"|\b(?:revela|muestra|mostra|mostre|revele)\s+(?:\w+\s+){0,3}?prompt\s+(?:del?\s+|do\s+)?sist\w+\b",
    ),
    (
        "jailbreak dan_mode anything_now developer_mode",
        r"\b(?:jailbreak|dan\s+mode|do\s+anything\s+now|developer\s+mode\s+(?:enabled|activated|on))\b",
    ),
    (
        "system_prompt system_message system_instruction",
        r"\b(?:begin|end|start)(?:ning)?\s+(?:of\s+)?(?:the\s+)?(?:new\s+)?system\s+(?:prompt|message|instructions?)\b",
    ),
    (
        "your_new your_real your_true your_actual",
        r"\byour\s+(?:new|real|true|actual)\s+(?:task|goal|instructions?|purpose|role)\s+(?:is|are)\s*(?:to\b|:)",
    ),
)

_SYNTAX: tuple[tuple[str, str], ...] = (
    ("<|", r"<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id|begin_of_text)\|>"),
    ("inst] <sys>> <</sys", r"\[/?INST\]|<</?SYS>>"),
    (
        "tool function invoke antml",
        r"</?(?:tool_call|tool_calls|tool_response|function_calls?|function_results|invoke|antml:\w+)\b[^<>]{0,80}>"
        r"|\"(?:tool_calls|function_call)\"\s*:\s*[\[{]",
    ),
    (
        '"arguments" "parameters" "input"',
        r"\{\s*\"name\"\s*:\s*\"[\w.-]{1,60}\"\s*,\s*\"(?:arguments|parameters|input)\"\s*:\s*\{",
    ),
    (
        "system developer",
        r"(?:^|\n)\W{0,6}(?:system|developer)\s?(?:prompt|message|instructions?)?\W{0,3}:\W{0,3}"
        r"(?:you\s+(?:are|must|will|should)|ignore|never|always|from\s+now|new\s+instructions?)\b",
    ),
    ("![", r"!\[[^\]]{0,80}\]\(https?://[^)\s]{1,200}?[?&/=](?:\{|%7b|\[|<)[^)\s]{0,80}"),
)

_KINDS = (
    ("tells a machine to ignore its instructions", _OVERRIDES),
    ("gives a machine another role", _NOW),
    ("addresses a machine", _TO_MACHINES),
    ("is written in the signs of prompts or tool calls", _SYNTAX),
)
"""What is found: the words for staff, then rules. A rule is looked for only where one of the pieces before it occurs
(`_` stands for a space), which keeps ordinary documents cheap."""

_EMPHASIS = re.compile(
    r"(?<![*~`\\])[*~`\\]++(?=\w)|(?<=\w)[*~`\\]+"
    # Runs are looked at from their first sign only, or a long one would take the square of its length.
    r"|(?<!_)_++(?![^\W_])|(?<![^\W_])(?<!_)_++"
)
_SPACED = re.compile(r"\b(?:\w[ .\-_]){2,}\w\b")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")


def find_instructions(text: str) -> tuple[Finding, ...]:
    """The places of `text` that read like instructions to a machine, the first of each kind; most often none."""
    plain = _plain(text)
    lower = " ".join(plain.lower().split())
    found = []
    for why, rules in _KINDS:
        matches = (_compiled(rule).search(plain) for pieces, rule in rules if _occurs(pieces, lower))
        if (match := next(filter(None, matches), None)) is not None:
            found.append(Finding(_excerpt(plain, match), why))
    return tuple(found)


def _occurs(pieces: str, lower: str) -> bool:
    return any(piece.replace("_", " ") in lower for piece in pieces.split())


@cache
def _compiled(rule: str) -> re.Pattern[str]:
    return re.compile(rule, re.IGNORECASE)


def _plain(text: str) -> str:
    """`text` as it is read: letters in their usual form, no emphasis, s p a c e d letters together."""
    plain = unicodedata.normalize("NFKC", text)
    plain = _EMPHASIS.sub("", plain)
    plain = _SPACED.sub(lambda run: re.sub(r"[ .\-_]", "", run[0]), plain)
    return _SPACES.sub(" ", plain)


def _excerpt(text: str, match: re.Match[str]) -> str:
    start, end = max(0, match.start() - _AROUND), min(len(text), match.end() + _AROUND)
    before = text[start : match.start()].rpartition("\n\n")[2]
    after = text[match.end() : end].partition("\n\n")[0]
    is_begun, is_ended = (
        len(before) < match.start() - start or not start,
        len(after) < end - match.end() or end == len(text),
    )
    words = " ".join(f"{before}{match[0]}{after}".split())
    return f"{'' if is_begun else '…'}{words[:300]}{'' if is_ended and len(words) <= 300 else '…'}"
