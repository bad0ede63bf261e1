"""SupportAgent: a conversation in, a stream of reply events out.

    understand -> retrieve -> answer -> check -> (Answer | Handoff)
         |            |                    ^
         +------------+---- settled -------+

One LangGraph graph behind one method. A first question costs one model call; a follow-up one more, to make it stand alone.
Only a question whose words are not those of the documents, as when it is in another language, costs that call too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict, cast

from agent import policy, wording
from agent.errors import ModelError
from agent.guard import Gate, mask, receive, says_something, shorten
from agent.messages import (
    Answer,
    Conversation,
    Delta,
    Handoff,
    HandoffReason,
    Message,
    Provenance,
    ReplyEvent,
    Status,
    Usage,
)
from agent.models.base import Chunk, ModelBackend
from agent.prompting import answer_prompt, fitting, rewrite_prompt
from agent.reply import MarkReader, Written, allowed_urls, citations_of, finished, is_small_talk
from knowledge.base import KnowledgeBase
from knowledge.search import Query, SearchResult

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.runtime import Runtime

LOOK_UP = 6
"""Passages that are retrieved for an answer."""
EACH_PART = 2
"""Passages for each question of a message that asks several."""
LONGEST_REWRITE = 400
"""Characters. A longer line is no question made to stand alone."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Who the agent speaks for. `handoff_message` tells customers what happens when a person takes over."""

    company: str = ""
    handoff_message: str = "A person from our team will take it from here."


class State(TypedDict, total=False):
    """What the nodes hand on."""

    conversation: Conversation
    question: str
    shortened: bool
    history: tuple[Message, ...]
    intent: policy.Intent
    standalone: str
    """The question as it is looked up: made to stand alone, or in the documents' language."""
    found: SearchResult
    written: Written
    result: Answer | Handoff
    model: str
    prompt: str
    usage: Usage
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """What the nodes work with; never stored."""

    model: ModelBackend
    knowledge: KnowledgeBase
    persona: Persona
    max_tokens: int


class SupportAgent:
    """Answers from `knowledge` with `model`. Safe to share between conversations."""

    def __init__(
        self, model: ModelBackend, knowledge: KnowledgeBase, persona: Persona | None = None, *, max_tokens: int = 700
    ) -> None:
        self._context = Context(model, knowledge, persona or Persona(), max_tokens)
        self._graph: CompiledStateGraph[State, Context, State, State] | None = None

    @property
    def model(self) -> ModelBackend:
        """The model that answers."""
        return self._context.model

    async def reply(self, conversation: Conversation) -> AsyncGenerator[ReplyEvent]:
        """Reply to the conversation's last message: any number of Status and Delta, then one Answer or Handoff.

        Deltas are a draft; the last event replaces it. Errors of models end as a hand-off, never as an exception; those of
        the store (`StoreError`) are raised, for the caller to apologise and to tell staff.
        """
        if self._graph is None:
            self._graph = _graph()
        start: State = {"conversation": conversation, "usage": Usage(), "notes": ()}
        stream = self._graph.astream(start, context=self._context, stream_mode="custom")
        async with aclosing(cast("AsyncGenerator[ReplyEvent]", stream)) as events:
            async for event in events:
                yield event


def _graph() -> CompiledStateGraph[State, Context, State, State]:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=Context)
    graph.add_node("understand", _understand)
    graph.add_node("retrieve", _retrieve)
    graph.add_node("answer", _answer)
    graph.add_node("check", _check)
    graph.add_edge(START, "understand")
    graph.add_conditional_edges("understand", _settled, {True: "check", False: "retrieve"})
    graph.add_conditional_edges("retrieve", _settled, {True: "check", False: "answer"})
    graph.add_edge("answer", "check")
    graph.add_edge("check", END)
    return graph.compile()


def _settled(state: State) -> bool:
    return "result" in state


def _emit(event: ReplyEvent) -> None:
    from langgraph.config import get_stream_writer

    get_stream_writer()(event)


# The nodes --------------------------------------------------------------------------------------------------------------


async def _understand(state: State, runtime: Runtime[Context]) -> State:
    """Tell what kind of message it is; make a follow-up stand alone in its conversation."""
    context = runtime.context
    messages = state["conversation"].messages
    received = receive(_text_of(messages[-1]))
    known: State = {
        **state,
        "question": received.text,
        "standalone": received.text,
        "shortened": received.shortened,
        "history": tuple(message for message in messages[:-1] if says_something(message.text)),
        "intent": policy.intent_of(received.text),
    }
    if (settled := _without_looking_up(known, context)) is not None:
        return {**known, "result": settled}
    if known["history"] and context.model.generative:
        return await _rewrite(known, context)
    return known


def _without_looking_up(state: State, context: Context) -> Answer | Handoff | None:
    """The reply to a message that no document needs to be read for."""
    match state["intent"]:
        case "empty":
            return Answer(wording.EMPTY, asks_back=True)
        case "crisis":
            return _handoff(state, context, "policy", wording.CRISIS)
        case "person":
            return _handoff(state, context, "asked", wording.PERSON)
        case "small_talk":
            thanked = policy.is_thanks(state["question"])
            return Answer(wording.WELCOME if thanked else wording.greeting(context.persona.company))
        case _:
            return None


async def _rewrite(state: State, context: Context) -> State:
    """Have the model put the question so that it can be looked up; the question stays as it is when that fails."""
    language = (await context.knowledge.language()).capitalize()
    prompt = rewrite_prompt(state["question"], state["history"], language)
    text, usage, notes = "", state["usage"], list(state["notes"])
    try:
        async with aclosing(context.model.stream(prompt)) as chunks:
            async for chunk in chunks:
                text += chunk.text
                usage += chunk.usage
                notes += [chunk.note] if chunk.note else []
    except ModelError as error:
        notes.append(str(error))
    line = next((line.strip() for line in text.splitlines() if says_something(line)), "")
    if not line or len(line) > LONGEST_REWRITE:
        line = state["question"]
    return {**state, "standalone": line, "usage": usage, "notes": tuple(notes)}


async def _retrieve(state: State, runtime: Runtime[Context]) -> State:
    """Look the question up. What is too weak to answer from is handed over without asking a model."""
    context = runtime.context
    _emit(Status("Looking in the help articles ..."))
    found = await _search(state, context)
    if context.model.generative and not _enough(state, found) and found.foreign and not _is_rewritten(state):
        state = await _rewrite(state, context)
        found = await _search(state, context)
    state = {**state, "found": found, "notes": (*state["notes"], *([found.note] if found.note else []))}
    # `quotes` judges for itself: it may still ask back.
    if context.model.generative and not _enough(state, found):
        return {**state, "result": _handoff(state, context, "unsure", wording.UNSURE)}
    return state


def _enough(state: State, found: SearchResult) -> bool:
    return policy.good_enough(state["question"], found, generative=True)


def _is_rewritten(state: State) -> bool:
    return state["standalone"] != state["question"]


async def _search(state: State, context: Context) -> SearchResult:
    """Search for the question that stands alone; what was said instead or before counts a little, too."""
    asked = state["standalone"]
    before = [message.text for message in state["history"] if message.role == "customer"]
    leaning = state["question"] if _is_rewritten(state) else (before[-1] if before else "")
    # What the model has put in full stands alone; what nobody has, and points back, does not.
    leans = bool(leaning) and not _is_rewritten(state) and policy.leans_on_conversation(asked)
    query = Query(asked, LOOK_UP, leaning, leans, state["conversation"].audiences)
    found = await context.knowledge.search(query)
    parts = [] if leans else policy.parts_of(asked)
    if len(parts) > 1:
        # One question of several would take all the places.
        others = [
            await context.knowledge.search(replace(query, text=part, context=asked, limit=EACH_PART)) for part in parts
        ]
        ranked = [hit for one in others for hit in one.hits] + list(found.hits)
        hits = {hit.passage.id: hit for hit in ranked}
        confidence = max(one.confidence for one in (found, *others))
        found = replace(found, hits=tuple(hits.values()), confidence=confidence)
    return replace(found, hits=fitting(found.hits))


async def _answer(state: State, runtime: Runtime[Context]) -> State:
    """Have the model write, streaming what may be shown as a draft."""
    context = runtime.context
    found = state["found"]
    _emit(Status("Writing the answer ..."))
    prompt = answer_prompt(
        state["question"],
        found,
        state["history"],
        company=context.persona.company,
        max_tokens=context.max_tokens,
        asked_back=policy.has_asked_back(state["history"]),
        standalone=state["standalone"],
    )
    gate, marks = Gate(len(found.hits), allowed_urls(found.hits)), MarkReader()
    shown, last, usage, notes = "", Chunk(), state["usage"], list(state["notes"])
    try:
        async with aclosing(context.model.stream(prompt)) as chunks:
            async for chunk in chunks:
                usage += chunk.usage
                notes += [chunk.note] if chunk.note else []
                last = chunk if chunk.finish else last
                shown += _show(gate.feed(marks.feed(chunk.text)), marks)
    except ModelError as error:
        state = {**state, "usage": usage, "notes": (*notes, str(error))}
        return {**state, "result": _handoff(state, context, "failed", wording.FAILED)}
    shown += _show(gate.feed(marks.end()) + gate.end(), marks)
    if last.finish == "length":
        notes.append(f"The answer was cut at {context.max_tokens} tokens (max_answer_tokens).")
    written = Written(shown, marks.mark, tuple(gate.cited), last.finish == "length")
    return {
        **state,
        "written": written,
        "usage": usage,
        "notes": tuple(notes),
        "model": last.model,
        "prompt": prompt.version if context.model.generative else "",
    }


def _show(text: str, marks: MarkReader) -> str:
    if text and marks.mark in (None, "ask", "chat"):
        _emit(Delta(text))
    return text


async def _check(state: State, runtime: Runtime[Context]) -> State:
    """Decide what is sent: the draft as an answer if it holds, else a hand-off. Ends every reply."""
    result = state.get("result") or _judged(state, runtime.context)
    _emit(replace(result, provenance=_provenance(state)))
    return state


def _judged(state: State, context: Context) -> Answer | Handoff:
    written, hits = state["written"], state["found"].hits
    text = finished(written, hits)
    match written.mark:
        case "person":
            return _handoff(state, context, "asked", wording.PERSON)
        case "refuse":
            return _handoff(state, context, "policy", wording.REFUSED)
        case "ask" if text and not policy.has_asked_back(state["history"]):
            return Answer(text, asks_back=True)
        case "ask":
            return _handoff(state, context, "unsure", wording.UNCLEAR)
        case "chat" if is_small_talk(text):
            return Answer(text)
        case None if text and written.cited:
            return Answer(_completed(text, state, context), citations_of(written, hits))
        case _:
            return _handoff(state, context, "unsure", wording.UNSURE)


def _completed(text: str, state: State, context: Context) -> str:
    """An answer with the sentences that code adds to it."""
    before = wording.CANNOT_DO if state["intent"] == "action" and not context.model.generative else ""
    after = wording.SHORTENED if state["shortened"] else ""
    return "\n\n".join(part for part in (before, text, after) if part)


def _handoff(state: State, context: Context, reason: HandoffReason, text: str) -> Handoff:
    summary = [f"The customer wrote: {shorten(mask(state['question']), 500)}"]
    if state.get("standalone") not in (None, state["question"]):
        summary.append(f"Understood as: {shorten(mask(state['standalone']), 500)}")
    if found := state.get("found"):
        titles = dict.fromkeys(hit.passage.title for hit in found.hits[:3])
        summary.append(f"Looked at: {'; '.join(titles) or 'nothing fitted'} (confidence {found.confidence:.2f})")
    summary += state["notes"]
    return Handoff(reason, text.format(next=context.persona.handoff_message), "\n".join(summary))


def _provenance(state: State) -> Provenance:
    return Provenance(state.get("model"), state.get("prompt", ""), state["usage"], state["notes"])


def _text_of(message: Message) -> str:
    """The message with the text of its attachments."""
    return "\n\n".join((message.text, *(one.text for one in message.attachments if one.text)))
