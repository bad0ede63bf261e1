"""SupportAgent: a conversation in, a stream of reply events out.

    understand -> retrieve -> answer -> check -> (Answer | Handoff)
         |            |                    ^
         +------------+---- settled -------+

One LangGraph graph behind one method. A first question costs one model call; a follow-up one more, to make it stand alone.
Only a question whose words are not those of the documents, as when it is in another language, costs that call too. Triage
and judge are models of their own, asked only where they are set.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Set
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict, cast

from agent import policy, wording
from agent.drafting import Drafted, draft, wish
from agent.errors import ModelError
from agent.excerpts import plain_name
from agent.grounding import judged
from agent.guard import mask, says_something, shorten
from agent.looking_up import look_up
from agent.messages import (
    Address,
    Answer,
    Conversation,
    Delta,
    Handoff,
    HandoffReason,
    Message,
    Provenance,
    ReplyEvent,
    Status,
    Summary,
    Usage,
)
from agent.models.base import Completion, ModelBackend, Payer, Prompt, Role, complete
from agent.models.quotes import NAME as QUOTES
from agent.models.routing import Models
from agent.pending import Asked, asked
from agent.prompting import (
    HISTORY_MESSAGES,
    KEPT_MESSAGES,
    Persona,
    answer_prompt,
    recent,
    rewrite_prompt,
    summary_prompt,
    triage_prompt,
    with_wish,
)
from agent.reply import finished, is_small_talk, sourced, with_not_read
from agent.standing import CHANGED, Sources, stands, while_standing
from knowledge.base import KnowledgeBase
from knowledge.search import SearchResult

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.runtime import Runtime

__all__ = ["Context", "Persona", "State", "SupportAgent"]

LONGEST_REWRITE = 400
"""Characters. A longer line is no question made to stand alone."""
SECONDS: dict[Role, float] = {"triage": 6.0, "rewrite": 4.0, "judge": 10.0, "summarise": 20.0}
"""How long each role may take; the answer has what is left."""
TOTAL_SECONDS = 28.0
"""For all models of one reply together, so that a customer hears something within half a minute."""


class State(TypedDict, total=False):
    """What the nodes hand on."""

    conversation: Conversation
    asked: Asked
    question: str
    history: tuple[Message, ...]
    intent: policy.Intent
    began: float
    """On the monotonic clock."""
    standalone: str
    """The question as it is looked up: made to stand alone, or in the documents' language."""
    found: SearchResult
    drafted: Drafted
    result: Answer | Handoff
    model: str
    prompt: str
    usage: Usage
    notes: tuple[str, ...]
    failed: frozenset[str]
    """Kinds of the model errors on the way."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the nodes work with; never stored. `address` is that of the conversation."""

    models: Models
    knowledge: KnowledgeBase
    persona: Persona
    max_tokens: int
    total_seconds: float
    address: Address
    payer: Payer
    sources: Sources

    @property
    def model(self) -> ModelBackend:
        """The model that answers here."""
        return self.models.answering(self.address)

    def role(self, role: Role) -> ModelBackend | None:
        """The model for a role here, if there is one."""
        return self.models.choose(role, self.address)


class SupportAgent:
    """Answers from `knowledge` with `models`, or with one model for all. Safe to share between conversations.

    `persona` may differ from room to room. `max_tokens` bounds an answer; `total_seconds` is what the models of one reply
    may take together.
    """

    def __init__(
        self,
        models: ModelBackend | Models,
        knowledge: KnowledgeBase,
        persona: Persona | Callable[[Address], Persona] | None = None,
        *,
        max_tokens: int = 700,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._models = models if isinstance(models, Models) else Models.only(models)
        self._knowledge = knowledge
        self._persona = persona or Persona()
        self._max_tokens = max_tokens
        self._total_seconds = total_seconds
        self._graph: CompiledStateGraph[State, Context, State, State] | None = None

    def _context(self, conversation: Conversation, sources: Sources | None = None) -> Context:
        return Context(
            self._models,
            self._knowledge,
            self._persona if isinstance(self._persona, Persona) else self._persona(conversation.address),
            self._max_tokens,
            self._total_seconds,
            conversation.address,
            _payer(conversation),
            sources or Sources(self._knowledge, conversation.audiences),
        )

    async def summarise(self, conversation: Conversation) -> Summary | None:
        """Sum up the older messages of a long conversation; `None` when it is short, or cannot be summed up now.

        What is returned belongs into the conversation before its next message; nobody has to wait for it.
        """
        history = recent(conversation.messages, conversation.summary)
        context = self._context(conversation)
        model = context.role("summarise")
        if model is None or len(history) < HISTORY_MESSAGES:
            return None
        before = conversation.summary.text if conversation.summary is not None else ""
        old = history[:-KEPT_MESSAGES]
        prompt = replace(summary_prompt(old, before), seconds=SECONDS["summarise"], payer=context.payer)
        try:
            text = (await complete(model, prompt)).text.strip()
        except ModelError:
            return None
        return Summary(text, old[-1].id) if says_something(text) else None

    async def stands(self, answer: Answer, audiences: frozenset[str]) -> bool:
        """Whether all that it cites may still be shown to `audiences`. Raises `StoreError`."""
        return await stands(self._knowledge, answer, audiences)

    async def reply(self, conversation: Conversation) -> AsyncGenerator[ReplyEvent]:
        """Reply to what customers said since the last reply: any number of Status and Delta, then one Answer or Handoff.

        Deltas are a draft; the last event replaces it. Errors of models end as a hand-off, never as an exception; those of
        the store (`StoreError`) are raised, for the caller to apologise and to tell staff.
        """
        persona = self._context(conversation).persona
        unsure = Handoff("unsure", wording.UNSURE.format(next=persona.handoff_message), CHANGED)
        replying = while_standing(
            self._knowledge, conversation.audiences, lambda sources: self._written(conversation, sources), unsure
        )
        async with aclosing(replying) as events:
            async for event in events:
                yield event

    async def _written(self, conversation: Conversation, sources: Sources) -> AsyncGenerator[ReplyEvent]:
        """A reply, written from what is published now."""
        if self._graph is None:
            self._graph = _graph()
        start: State = {
            "conversation": conversation,
            "began": time.monotonic(),
            "usage": Usage(),
            "notes": (),
            "failed": frozenset(),
        }
        context = self._context(conversation, sources)
        stream = self._graph.astream(start, context=context, stream_mode="custom")
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


async def _settled(state: State) -> bool:
    # Not a plain function: LangGraph would call it in a thread.
    return "result" in state


def _emit(event: ReplyEvent) -> None:
    from langgraph.config import get_stream_writer

    get_stream_writer()(event)


def _payer(conversation: Conversation) -> Payer:
    """Whose budgets a reply to the conversation's last message counts against."""
    address = conversation.address
    person = conversation.messages[-1].person if conversation.messages else ""
    return Payer(str(address), address.channel, person)


# The nodes --------------------------------------------------------------------------------------------------------------


async def _understand(state: State, runtime: Runtime[Context]) -> State:
    """Tell what kind of message it is; make a follow-up stand alone in its conversation."""
    context = runtime.context
    question = asked(state["conversation"])
    known: State = {
        **state,
        "asked": question,
        "question": question.words,
        "standalone": question.telling if question.says_nothing else question.words,
        "history": recent(question.before, state["conversation"].summary),
        "intent": question.intent,
    }
    if (settled := _without_looking_up(known, context)) is not None:
        return {**known, "result": settled}
    if context.role("triage") is not None:
        known = await _triage(known, context)
        settled = _without_looking_up(known, context)
        return {**known, "result": settled} if settled is not None else known
    if known["history"]:
        return await _rewrite(known, context)
    return known


async def _asked(prompt: Prompt, state: State, context: Context) -> tuple[Completion | None, State]:
    """A model's whole reply in the role of the prompt, `None` if none came; and the state with what it cost."""
    model = context.role(prompt.role)
    if model is None:
        return None, state
    seconds = min(SECONDS[prompt.role], _seconds_left(state, context))
    try:
        done = await complete(model, replace(prompt, seconds=seconds, payer=context.payer))
    except ModelError as error:
        return None, _with(state, error.usage, (str(error),), {error.kind})
    return done, _with(state, done.usage, done.notes, done.failed)


def _with(state: State, usage: Usage, notes: tuple[str, ...], failed: Set[str]) -> State:
    return {
        **state,
        "usage": state["usage"] + usage,
        "notes": (*state["notes"], *notes),
        "failed": state["failed"] | failed,
    }


def _seconds_left(state: State, context: Context) -> float:
    return max(0.1, context.total_seconds - (time.monotonic() - state["began"]))


async def _triage(state: State, context: Context) -> State:
    """Have a model tell what kind of message it is, and put it so that it can be looked up; else the rules stand."""
    prompt = triage_prompt(
        state["asked"].spoken,
        state["history"],
        await _documents_language(context),
        company=context.persona.company,
        summary=_summary(state),
        attachments=state["asked"].attachments,
    )
    done, state = await _asked(prompt, state, context)
    if done is None or done.last.parsed is None:
        return state
    sorted_as = done.last.parsed
    intent = cast("policy.Intent", sorted_as["intent"])
    return {**state, "intent": intent, "standalone": _usable(sorted_as["standalone"], state)}


async def _documents_language(context: Context) -> str:
    return (await context.knowledge.language()).capitalize()


def _summary(state: State) -> str:
    summary = state["conversation"].summary
    return summary.text if summary is not None else ""


def _usable(line: str, state: State) -> str:
    """The question made to stand alone, unless it is no question."""
    line = next((line.strip() for line in line.splitlines() if says_something(line)), "")
    return line if line and len(line) <= LONGEST_REWRITE else state["standalone"]


def _without_looking_up(state: State, context: Context) -> Answer | Handoff | None:
    """The reply to a message that no document needs to be read for."""
    match state["intent"]:
        case "empty" if not state["asked"].not_read:
            return Answer(wording.EMPTY, asks_back=True)
        case "empty" if policy.has_asked_back(state["history"]):
            return _handoff(state, context, "unsure", wording.UNCLEAR)
        case "empty":
            return Answer(wording.WHAT_IT_SHOWS.format(not_read=state["asked"].not_read), asks_back=True)
        case "crisis":
            return _handoff(state, context, "policy", wording.CRISIS)
        case "person":
            return _handoff(state, context, "asked", wording.PERSON)
        case "refuse":
            return _handoff(state, context, "policy", wording.REFUSED)
        case "small_talk":
            thanked = policy.is_thanks(state["question"])
            return Answer(wording.WELCOME if thanked else wording.greeting(context.persona.company))
        case _:
            return None


async def _rewrite(state: State, context: Context) -> State:
    """Have a model put the question so that it can be looked up; the question stays as it is when that fails."""
    language = await _documents_language(context)
    asked = state["asked"]
    prompt = rewrite_prompt(asked.spoken, state["history"], language, _summary(state), asked.attachments)
    done, state = await _asked(prompt, state, context)
    return {**state, "standalone": _usable(done.text if done is not None else "", state)}


async def _retrieve(state: State, runtime: Runtime[Context]) -> State:
    """Look the question up. What is too weak to answer from is handed over without asking a model."""
    context = runtime.context
    _emit(Status("Looking in the help articles ..."))
    found = await _search(state, context)
    for less in (state["asked"].core, state["asked"].telling):
        if less in ("", state["standalone"]) or _good(state["standalone"], found, context):
            continue
        # What is said around it hides the question, or says nothing and stands in the file.
        other: State = {**state, "standalone": less}
        by_less = await _search(other, context)
        if _good(less, by_less, context) and _good(state["question"], by_less, context):
            state, found = other, by_less
    if context.model.generative and not _enough(state, found) and found.foreign and not _is_rewritten(state):
        state = await _rewrite(state, context)
        found = await _search(state, context)
    context.sources.use(found.hits)
    state = {**state, "found": found, "notes": (*state["notes"], *([found.note] if found.note else []))}
    # `quotes` judges for itself: it may still ask back.
    if context.model.generative and not _enough(state, found):
        return {**state, "result": _handoff(state, context, "unsure", wording.UNSURE)}
    return state


def _good(question: str, found: SearchResult, context: Context) -> bool:
    return policy.good_enough(question, found, generative=context.model.generative)


def _enough(state: State, found: SearchResult) -> bool:
    return policy.good_enough(state["question"], found, generative=True)


def _is_rewritten(state: State) -> bool:
    return state["standalone"] != state["question"]


async def _search(state: State, context: Context) -> SearchResult:
    rewritten = _is_rewritten(state)
    before = [message.text for message in state["history"] if message.role == "customer"]
    leaning = state["question"] if rewritten else state["asked"].telling or (before[-1] if before else "")
    audiences = state["conversation"].audiences
    return await look_up(context.knowledge, state["standalone"], leaning, audiences, rewritten=rewritten)


async def _answer(state: State, runtime: Runtime[Context]) -> State:
    """Have the model write, streaming what may be shown as a draft; ask once more when that is not good enough."""
    context = runtime.context
    _emit(Status("Writing the answer ..."))
    prompt = answer_prompt(
        state["asked"].spoken,
        state["found"],
        state["history"],
        context.persona,
        max_tokens=context.max_tokens,
        asked_back=policy.has_asked_back(state["history"]),
        standalone=state["standalone"],
        summary=_summary(state),
        attachments=state["asked"].attachments,
    )
    state = {**state, "prompt": prompt.version if context.model.generative else ""}
    state = await _written(prompt, state, context, shown=True)
    if "result" in state:
        return state
    drafted = state["drafted"]
    wished = wish(drafted, state["question"], context.max_tokens, context.persona.language)
    if not wished:
        return state
    _emit(Status("Putting it better ..."))
    again = await _written(with_wish(prompt, drafted.written.text, wished), state, context, shown=False)
    spent: State = {**state, "usage": again["usage"], "notes": again["notes"], "failed": again["failed"]}
    better = "result" not in again and finished(again["drafted"].written, state["found"].hits)
    return again if better else spent


async def _written(prompt: Prompt, state: State, context: Context, *, shown: bool) -> State:
    """What the model writes; a hand-off when it fails."""
    ready = replace(prompt, seconds=_seconds_left(state, context), payer=context.payer)
    show = (lambda piece: _emit(Delta(piece))) if shown else None
    drafted = await draft(context.model, ready, state["found"].hits, show)
    state = _with(state, drafted.usage, drafted.notes, drafted.failed)
    if drafted.error is None:
        return {**state, "drafted": drafted, "model": drafted.model}
    sentence = {"filtered": wording.FILTERED, "budget": wording.BUDGET}.get(drafted.error.kind, wording.FAILED)
    reason: HandoffReason = "failed" if sentence is wording.FAILED else "policy"
    return {**state, "result": _handoff(state, context, reason, sentence)}


async def _check(state: State, runtime: Runtime[Context]) -> State:
    """Decide what is sent: the draft as an answer if it holds, else a hand-off. Ends every reply."""
    context = runtime.context
    result = state.get("result") or _settle(state, context)
    judge = context.role("judge")
    if judge is not None and isinstance(result, Answer) and result.citations and state["model"] != QUOTES:
        _emit(Status("Checking the answer ..."))
        seconds = min(SECONDS["judge"], _seconds_left(state, context))
        judgement = await judged(
            judge,
            "\n".join(part for part in (state["question"], state["asked"].telling) if part),
            result.text,
            [citation.passage for citation in result.citations],
            seconds=seconds,
            payer=context.payer,
        )
        state = _with(state, judgement.usage, judgement.notes, judgement.failed)
        # A judge that does not answer leaves it at the checks that code has made.
        if judgement.grounded is False:
            result = _handoff(state, context, "unsure", wording.UNSURE)
    result = with_not_read(result, state["asked"].not_read)
    _emit(replace(result, provenance=_provenance(state)))
    return state


def _settle(state: State, context: Context) -> Answer | Handoff:
    written, hits = state["drafted"].written, state["found"].hits
    text, citations = sourced(written, hits)
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
            return Answer(_completed(text, state, context), citations)
        case _:
            return _handoff(state, context, "unsure", wording.UNSURE)


def _completed(text: str, state: State, context: Context) -> str:
    """An answer with the sentences that code adds to it."""
    quoted = state["model"] == QUOTES
    before = wording.CANNOT_DO if state["intent"] == "action" and quoted else ""
    after = state["asked"].shortened
    budget = wording.QUOTED_FOR_BUDGET if quoted and "budget" in state["failed"] else ""
    return "\n\n".join(part for part in (before, text, after, budget) if part)


def _handoff(state: State, context: Context, reason: HandoffReason, text: str) -> Handoff:
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


def _provenance(state: State) -> Provenance:
    # The same note from two calls is one.
    notes = tuple(dict.fromkeys(state["notes"]))
    filtered = "filtered" in state["failed"]
    return Provenance(state.get("model"), state.get("prompt", ""), state["usage"], notes, filtered)
