"""What is sent in the end: a reply that needs no document, the draft as an answer where it holds, else a hand-off."""

from __future__ import annotations

from agent import policy, wording
from agent.excerpts import plain_name
from agent.guard import mask, shorten
from agent.messages import Answer, Handoff, HandoffReason, Provenance
from agent.models.quotes import NAME as QUOTES
from agent.reply import is_small_talk, sourced
from agent.state import Context, State


def without_looking_up(state: State, context: Context) -> Answer | Handoff | None:
    """The reply to a message that no document needs to be read for."""
    match state["intent"]:
        case "empty" if not state["asked"].not_read:
            return Answer(wording.EMPTY, asks_back=True)
        case "empty" if policy.has_asked_back(state["history"]):
            return handoff(state, context, "unsure", wording.UNCLEAR)
        case "empty":
            return Answer(wording.WHAT_IT_SHOWS.format(not_read=state["asked"].not_read), asks_back=True)
        case "crisis":
            return handoff(state, context, "policy", wording.CRISIS)
        case "person":
            return handoff(state, context, "asked", wording.PERSON)
        case "refuse":
            return handoff(state, context, "policy", wording.REFUSED)
        case "small_talk":
            thanked = policy.is_thanks(state["question"])
            return Answer(wording.WELCOME if thanked else wording.greeting(context.persona.company))
        case _:
            return None


def decided(state: State, context: Context) -> Answer | Handoff:
    """What is made of the draft: an answer if it says something and shows where that is from, else a hand-off."""
    written, hits = state["drafted"].written, state["found"].hits
    text, citations = sourced(written, hits)
    match written.mark:
        case "person":
            return handoff(state, context, "asked", wording.PERSON)
        case "refuse":
            return handoff(state, context, "policy", wording.REFUSED)
        case "ask" if text and not policy.has_asked_back(state["history"]):
            return Answer(text, asks_back=True)
        case "ask":
            return handoff(state, context, "unsure", wording.UNCLEAR)
        case "chat" if is_small_talk(text):
            return Answer(text)
        case None if text and written.cited:
            return Answer(_completed(text, state, context), citations)
        case _:
            return handoff(state, context, "unsure", wording.UNSURE)


def _completed(text: str, state: State, context: Context) -> str:
    """An answer with the sentences that code adds to it."""
    quoted = state["model"] == QUOTES
    before = wording.CANNOT_DO if state["intent"] == "action" and quoted else ""
    after = state["asked"].shortened
    budget = wording.QUOTED_FOR_BUDGET if quoted and "budget" in state["failed"] else ""
    return "\n\n".join(part for part in (before, text, after, budget) if part)


def handoff(state: State, context: Context, reason: HandoffReason, text: str) -> Handoff:
    """A hand-off with the sentence for the customer, and what was understood and looked at for staff."""
    summary = [f"The customer wrote: {shorten(mask(state['question']), 500)}"]
    if files := [f"{plain_name(one.name)} ({one.unread or 'read'})" for one in state["asked"].attachments[:10]]:
        summary.append(f"Attached: {'; '.join(files)}")
    if state.get("standalone") not in (None, state["question"]):
        summary.append(f"Understood as: {shorten(mask(state['standalone']), 500)}")
    if found := state.get("found"):
        titles = dict.fromkeys(hit.passage.title for hit in found.hits[:3])
        summary.append(f"Looked at: {'; '.join(titles) or 'nothing fitted'} (confidence {found.confidence:.2f})")
    summary += state["notes"]
    return Handoff(reason, text.format(next=context.persona.handoff_message), "\n".join(summary))


def provenance(state: State) -> Provenance:
    """Which models wrote it, from which prompt, at what cost, and what went wrong on the way."""
    # The same note from two calls is one.
    notes = tuple(dict.fromkeys(state["notes"]))
    filtered = "filtered" in state["failed"]
    return Provenance(state.get("model"), state.get("prompt", ""), state["usage"], notes, filtered)
