"""How well backends answer the same questions: cases in, runs and scores out. Nothing is printed here.

    read_cases -> run_cases -> Comparison -> Scores of each backend, and how far two of them agree

An answer is grounded when the passages it cites support it. A model in the role `judge` says so; without one, words do:
every figure and code must stand in the passages, and most of what each sentence speaks of.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from agent.grounding import grounded_by_words, judged, unsupported_by_words
from agent.guard import shorten
from agent.messages import (
    Address,
    Answer,
    Citation,
    Conversation,
    Handoff,
    HandoffReason,
    Message,
    Outcome,
    ReplyEvent,
    Role,
    Usage,
)
from agent.models.base import ModelBackend
from knowledge.errors import KnowledgeError
from knowledge.readers.encoding import clean

# Cases ----------------------------------------------------------------------------------------------------------------

NOT_ANSWERED_KINDS = frozenset({"unanswerable", "in-domain", "internal", "off-topic"})
"""Kinds of questions that no document answers, also without a list of documents (examples/larkstay)."""
_LINE = 'A line is written as: {"text": "...", "documents": ["id-of-a-document"]}, with [] when no document answers it.'


@dataclass(frozen=True, slots=True)
class Case:
    """A question to compare backends on. `before` is what was said earlier: (role, text), oldest first.

    `documents` are the ids of those that hold the answer. `answerable` is false when a hand-off is right, and `None` when
    nothing is known about the case.
    """

    id: str
    text: str
    documents: tuple[str, ...] = ()
    answerable: bool | None = None
    kind: str = ""
    before: tuple[tuple[Role, str], ...] = ()


def read_cases(path: Path) -> list[Case]:
    """The cases of a JSONL file, in its order. Raises `KnowledgeError`, which names the line and how to write it."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        reason = "it is a folder" if isinstance(error, IsADirectoryError) else reason
        raise KnowledgeError(f"{path} cannot be read: {reason}.", f"Name a JSONL file. {_LINE}") from error
    cases: dict[str, Case] = {}
    lines: dict[str, int] = {}
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):
        if not line.strip():
            continue
        case = _case(line, number, path)
        if case.id in cases:
            raise KnowledgeError(
                f"{path}, line {number}: the id {case.id!r} stands in line {lines[case.id]} already.",
                "Give each line an id of its own, or leave the ids out.",
            )
        cases[case.id], lines[case.id] = case, number
    if not cases:
        raise KnowledgeError(f"{path} holds no question.", _LINE)
    return list(cases.values())


def _case(line: str, number: int, path: Path) -> Case:
    def wrong(what: str) -> KnowledgeError:
        return KnowledgeError(f"{path}, line {number}: {what}.", _LINE)

    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise wrong("this is not JSON") from None
    if not isinstance(entry, dict):
        raise wrong("this is not a JSON object")
    text, kind = entry.get("text"), entry.get("kind")
    if not isinstance(text, str) or not clean(text).strip():
        raise wrong('"text" is missing; it is the question')
    case_id = entry.get("id")
    if case_id is not None and (isinstance(case_id, bool) or not isinstance(case_id, str | int)):
        raise wrong('"id" is neither a text nor a number')
    documents = entry.get("documents")
    if documents is not None and not _all_texts(documents):
        raise wrong('"documents" is not a list of ids, such as ["refund-times"]')
    if kind is not None and not isinstance(kind, str):
        raise wrong('"kind" is not a text')
    before = entry.get("before") or []
    if not isinstance(before, list) or not all(_is_turn(turn) for turn in before):
        raise wrong('"before" is not a list of {"role": "customer" or "agent", "text": "..."}')
    unanswerable = documents == [] or (documents is None and kind in NOT_ANSWERED_KINDS)
    return Case(
        id=clean(str("" if case_id is None else case_id)).strip() or f"line-{number}",
        text=clean(text).strip(),
        documents=tuple(dict.fromkeys(documents or ())),
        answerable=False if unanswerable else (True if documents else None),
        kind=clean(kind or "").strip(),
        before=tuple((turn["role"], clean(turn["text"])) for turn in before),
    )


def _all_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ("customer", "agent") and isinstance(turn.get("text"), str)


# Grounding ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the cited passages support an answer. `None`: it could not be told, or nothing was to be judged.

    `by` is the judging model's name, "words", or empty. `note` says why a model did not judge.
    """

    grounded: bool | None = None
    by: str = ""
    unsupported: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    note: str = ""


async def judge(backend: ModelBackend, question: str, text: str, passages: Sequence[str]) -> Verdict:
    """Have a model judge an answer; by words when it fails."""
    found = await judged(backend, question, text, passages)
    if found.grounded is None:
        return judged_by_words(text, passages, question, usage=found.usage, note=" ".join(found.notes))
    unsupported = tuple(shorten(said, 200) for one in found.unsupported if (said := clean(one).strip()))
    return Verdict(found.grounded, backend.name, unsupported, found.usage)


def judged_by_words(
    text: str, passages: Sequence[str], question: str = "", *, usage: Usage | None = None, note: str = ""
) -> Verdict:
    """The verdict that needs no model."""
    grounded = grounded_by_words(text, passages, question)
    unsupported = tuple(unsupported_by_words(text, passages, question)) if grounded is False else ()
    return Verdict(grounded, "" if grounded is None else "words", unsupported, usage or Usage(), note)


# Runs -----------------------------------------------------------------------------------------------------------------

Fault = Literal["", "failed", "should have handed off", "should have answered", "cites other documents", "not grounded"]


class Agent(Protocol):
    """What is compared; a `SupportAgent` is one."""

    def reply(self, conversation: Conversation, /) -> AsyncGenerator[ReplyEvent]:
        """Reply to the conversation's last message, ending with an Answer or a Handoff."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """What one backend made of one case."""

    outcome: Outcome
    text: str
    reason: HandoffReason | None = None
    citations: tuple[Citation, ...] = ()
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    model: str | None = None
    """The model that really answered."""
    notes: tuple[str, ...] = ()
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def documents(self) -> tuple[str, ...]:
        """The ids of the cited documents, in the order of the citations."""
        return tuple(dict.fromkeys(citation.document for citation in self.citations))

    def fault(self, case: Case) -> Fault:
        """What is wrong with it, the gravest first; empty when nothing is, or nothing is known."""
        if self.reason == "failed":
            return "failed"
        if self.outcome == "answered" and case.answerable is False:
            return "should have handed off"
        if self.outcome == "handoff" and case.answerable:
            return "should have answered"
        if self.outcome == "answered" and case.documents and not set(self.documents) & set(case.documents):
            return "cites other documents"
        return "not grounded" if self.verdict.grounded is False else ""


async def run_cases(
    cases: Sequence[Case],
    agents: Mapping[str, Agent],
    judging: ModelBackend | None = None,
    *,
    concurrency: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Put every case to every agent; `concurrency` questions at once to each. `progress` is told (done, total).

    Raises what replying raises (`StoreError`); models that fail are hand-offs.
    """
    runs: dict[str, dict[int, Run]] = {name: {} for name in agents}

    async def work(name: str, left: Iterator[tuple[int, Case]]) -> None:
        for number, case in left:
            runs[name][number] = await _run(case, agents[name], judging)
            progress(sum(map(len, runs.values())), len(cases) * len(agents))

    try:
        async with asyncio.TaskGroup() as group:
            for name in agents:
                left = iter(list(enumerate(cases)))
                for _ in range(min(concurrency, len(cases))):
                    group.create_task(work(name, left))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    in_order = {name: tuple(done[number] for number in range(len(cases))) for name, done in runs.items()}
    return Comparison(tuple(cases), in_order, judging.name if judging else "", datetime.now(UTC))


async def _run(case: Case, agent: Agent, judging: ModelBackend | None) -> Run:
    address, now = Address("compare", "local", case.id), datetime.now(UTC)
    said: list[tuple[Role, str]] = [*case.before, ("customer", case.text)]
    messages = tuple(
        Message(str(number), address, role, role, text, now, outcome="answered" if role == "agent" else None)
        for number, (role, text) in enumerate(said, 1)
    )
    started, seconds = time.perf_counter(), 0.0
    result: Answer | Handoff | None = None
    async with aclosing(agent.reply(Conversation(address, messages))) as events:
        async for event in events:
            if isinstance(event, Answer | Handoff):
                result, seconds = event, time.perf_counter() - started
    assert result is not None, "a reply ends with an Answer or a Handoff"
    made = result.provenance
    citations = result.citations if isinstance(result, Answer) else ()
    verdict = Verdict()
    if citations and result.outcome == "answered":
        sources = ["\n".join(filter(None, (one.title, one.passage, one.url, one.updated))) for one in citations]
        if judging is not None and made.prompt:
            verdict = await judge(judging, case.text, result.text, sources)
        else:
            # Without a prompt no model wrote it: the documents' own words can be compared as they are.
            verdict = judged_by_words(result.text, sources, case.text)
    return Run(
        outcome=result.outcome,
        text=result.text,
        reason=result.reason if isinstance(result, Handoff) else None,
        citations=citations,
        usage=made.usage,
        seconds=seconds,
        model=made.model,
        notes=made.notes,
        verdict=verdict,
    )


# Scores ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """Between 0 and 1; `None` of nothing."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Scores:
    """One backend over all cases. `usage.cost_usd` is `None` when any price is unknown; judging is counted apart."""

    answered: Share
    asked_back: Share
    handed_off: Share
    failed: Share
    """Hand-offs because no model answered."""
    rightly_answered: Share
    """Of the cases that the documents answer."""
    wrongly_answered: Share
    """Of the cases that no document answers."""
    first_expected: Share
    """Of the answers to cases with known documents: the first citation is one of those."""
    any_expected: Share
    grounded: Share
    not_judged: int
    """Answers with citations of which could not be told whether they are grounded."""
    usage: Usage
    seconds_p50: float
    seconds_p95: float
    judging: Usage

    def per_answer(self, tokens: int) -> float | None:
        """Tokens for each answer that came of them; `None` when none did."""
        return tokens / self.answered.count if self.answered.count else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every run of every backend, in the order of the cases. `judging` is the judging model's name, or empty."""

    cases: tuple[Case, ...]
    runs: Mapping[str, tuple[Run, ...]]
    judging: str
    made: datetime

    def scores(self, name: str) -> Scores:
        """The scores of one backend."""
        pairs = list(zip(self.cases, self.runs[name], strict=True))
        runs = [run for _, run in pairs]
        answered = [(case, run) for case, run in pairs if run.outcome == "answered"]
        known = [(set(case.documents), run.documents) for case, run in answered if case.documents]
        verdicts = [run.verdict.grounded for _, run in answered if run.citations]
        seconds = sorted(run.seconds for run in runs)

        def share(outcome: Outcome, among: Sequence[Run] = runs) -> Share:
            return Share(sum(run.outcome == outcome for run in among), len(among))

        return Scores(
            answered=share("answered"),
            asked_back=share("asked_back"),
            handed_off=share("handoff"),
            failed=Share(sum(run.reason == "failed" for run in runs), len(runs)),
            rightly_answered=share("answered", [run for case, run in pairs if case.answerable]),
            wrongly_answered=share("answered", [run for case, run in pairs if case.answerable is False]),
            first_expected=Share(sum(bool(set(found[:1]) & right) for right, found in known), len(known)),
            any_expected=Share(sum(bool(set(found) & right) for right, found in known), len(known)),
            grounded=Share(verdicts.count(True), len(verdicts) - verdicts.count(None)),
            not_judged=verdicts.count(None),
            usage=sum((run.usage for run in runs), Usage()),
            seconds_p50=statistics.median(seconds),
            seconds_p95=seconds[math.ceil(0.95 * len(seconds)) - 1],
            judging=sum((run.verdict.usage for run in runs), Usage()),
        )

    def agreement(self, one: str, other: str) -> Share:
        """In how many cases two backends came to the same outcome."""
        pairs = zip(self.runs[one], self.runs[other], strict=True)
        return Share(sum(first.outcome == second.outcome for first, second in pairs), len(self.cases))

    def stands_out(self, number: int) -> bool:
        """Whether the backends differ on this case (counted from 0), or one of them is at fault."""
        case, runs = self.cases[number], [of[number] for of in self.runs.values()]
        return len({run.outcome for run in runs}) > 1 or any(run.fault(case) for run in runs)
