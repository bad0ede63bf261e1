"""A reply as messages: its parts, its sources below the last one, and its buttons. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.messages import Answer, Handoff
from connectors.discord.components import answer_components, handoff_components, sources_embed, sources_text
from connectors.discord.components import private_components as private_buttons
from connectors.discord.outgoing import LONGEST, messages, units

Json = dict[str, Any]

SUPPRESS_EMBEDS = 1 << 2
"""Also hides the embeds that a message brings itself."""
NO_MENTIONS: Json = {"parse": [], "replied_user": False}


@dataclass(frozen=True, slots=True)
class Style:
    """How a reply is shown: the longest part, whether sources are an embed, and whether there are buttons."""

    limit: int = LONGEST
    embeds: bool = True
    buttons: bool = True


STYLES = (Style(), Style(embeds=False), Style(embeds=False, buttons=False), Style(900, embeds=False, buttons=False))
"""The next where one is refused."""


def content_of(text: str, *, embed: Json | None = None, components: Sequence[Json] = ()) -> Json:
    """A message that mentions nobody and shows no page that it links to."""
    return {
        "content": text,
        "embeds": [embed] if embed else [],
        "components": list(components),
        "allowed_mentions": NO_MENTIONS,
        "flags": 0 if embed else SUPPRESS_EMBEDS,
    }


def contents(event: Answer | Handoff, turn: str, style: Style, *, private: bool = False) -> list[Json]:
    """A reply as one message for each part."""
    parts = messages(event.text, style.limit) or ["…"]
    citations = event.citations if isinstance(event, Answer) else ()
    embed: Json = sources_embed(citations) if style.embeds else {}
    if citations and not embed:
        small = sources_text(citations, style.limit)
        if units(parts[-1]) + units(small) + 1 <= style.limit:
            parts[-1] += f"\n{small}"
        else:
            parts.append(small)
    buttons = handoff_components if isinstance(event, Handoff) else private_buttons if private else answer_components
    below = buttons(turn) if style.buttons else []
    return [*map(content_of, parts[:-1]), content_of(parts[-1], embed=embed, components=below)]
