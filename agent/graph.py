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
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from agent import policy, wording
from agent.deciding import decided, handoff, provenance, without_looking_up
from agent.drafting import draft, wish
from agent.errors import ModelError
from agent.grounding import judged
from agent.guard import says_something
from agent.looking_up import look_up
from agent.messages import (
    Address,
    Answer,
    Conversation,
    Delta,
    Handoff,
    HandoffReason,
    ReplyEvent,
    Status,
    Summary,
    Usage,
)
from agent.models.base import Completion, ModelBackend, Payer, Prompt, complete
from agent.models.quotes import NAME as QUOTES
from agent.models.routing import Models
from agent.pending import asked
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
from agent.reply import finished, with_not_read
from agent.standing import CHANGED, Sources, stands, while_standing
from agent.state import SECONDS, Context, State, seconds_left, with_cost
from knowledge.base import KnowledgeBase
from knowledge.search import SearchResult

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.runtime import Runtime

__all__ = ["Persona", "SupportAgent"]

LONGEST_REWRITE = 400
"""Characters. A longer line is no question made to stand alone."""
TOTAL_SECONDS = 28.0
"""For all models of one reply together, so that a customer hears something within half a minute."""


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
    if (settled := without_looking_up(known, context)) is not None:
        return {**known, "result": settled}
    if context.role("triage") is not None:
        known = await _triage(known, context)
        settled = without_looking_up(known, context)
        return {**known, "result": settled} if settled is not None else known
    if known["history"]:
        return await _rewrite(known, context)
    return known


async def _asked(prompt: Prompt, state: State, context: Context) -> tuple[Completion | None, State]:
    """A model's whole reply in the role of the prompt, `None` if none came; and the state with what it cost."""
    model = context.role(prompt.role)
    if model is None:
        return None, state
    seconds = min(SECONDS[prompt.role], seconds_left(state, context))
    try:
        done = await complete(model, replace(prompt, seconds=seconds, payer=context.payer))
    except ModelError as error:
        return None, with_cost(state, error.usage, (str(error),), {error.kind})
    return done, with_cost(state, done.usage, done.notes, done.failed)


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
        return {**state, "result": handoff(state, context, "unsure", wording.UNSURE)}
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
    ready = replace(prompt, seconds=seconds_left(state, context), payer=context.payer)
    show = (lambda piece: _emit(Delta(piece))) if shown else None
    drafted = await draft(context.model, ready, state["found"].hits, show)
    state = with_cost(state, drafted.usage, drafted.notes, drafted.failed)
    if drafted.error is None:
        return {**state, "drafted": drafted, "model": drafted.model}
    sentence = {"filtered": wording.FILTERED, "budget": wording.BUDGET}.get(drafted.error.kind, wording.FAILED)
    reason: HandoffReason = "failed" if sentence is wording.FAILED else "policy"
    return {**state, "result": handoff(state, context, reason, sentence)}


async def _check(state: State, runtime: Runtime[Context]) -> State:
    """Decide what is sent: the draft as an answer if it holds, else a hand-off. Ends every reply."""
    context = runtime.context
    result = state.get("result") or decided(state, context)
    judge = context.role("judge")
    if judge is not None and isinstance(result, Answer) and result.citations and state["model"] != QUOTES:
        _emit(Status("Checking the answer ..."))
        seconds = min(SECONDS["judge"], seconds_left(state, context))
        judgement = await judged(
            judge,
            "\n".join(part for part in (state["question"], state["asked"].telling) if part),
            result.text,
            [citation.passage for citation in result.citations],
            seconds=seconds,
            payer=context.payer,
        )
        state = with_cost(state, judgement.usage, judgement.notes, judgement.failed)
        # A judge that does not answer leaves it at the checks that code has made.
        if judgement.grounded is False:
            result = handoff(state, context, "unsure", wording.UNSURE)
    result = with_not_read(result, state["asked"].not_read)
    _emit(replace(result, provenance=provenance(state)))
    return state
