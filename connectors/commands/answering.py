"""`frontdesk ask`, `chat` and `demo`."""

from __future__ import annotations

import json
import sys
import time
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from agent.messages import Address, Answer, Conversation, Handoff, Message
from agent.session import Session
from connectors.commands.options import Options
from connectors.composition import Desk, data_directory, read_settings, sample_folder
from connectors.terminal import PROMPT, Terminal
from knowledge.errors import KnowledgeError


async def ask(options: Options, question: str, *, as_json: bool) -> None:
    """Answer one question, drawn for a person or as one JSON object."""
    started = time.monotonic()
    async with Desk.open(read_settings(options.config, options.data)) as desk:
        await _require_documents(desk)
        if as_json:
            address = Address("cli", "local", "ask")
            message = Message("1", address, "customer", "customer", question, datetime.now(UTC))
            result = await _final(desk, Conversation(address, (message,)))
            _tell_notes(result)
            print(json.dumps(_as_json(result, time.monotonic() - started), ensure_ascii=False))  # noqa: T201
            return
        terminal, session = _terminal(desk)
        await session.receive(terminal.message(question))


async def chat(options: Options) -> None:
    """Chat until the end of input."""
    async with Desk.open(read_settings(options.config, options.data)) as desk:
        await _require_documents(desk)
        terminal, session = _terminal(desk)
        console = Console(soft_wrap=not sys.stdout.isatty())
        if console.is_terminal:
            console.print(Text(desk.how_answers_are_made, style="dim"))
            console.print(Text("Type your question; exit or Ctrl-D ends the chat.\n", style="dim"))
        await terminal.listen(session.receive)


async def demo(options: Options) -> None:
    """The sample knowledge base, some questions, then a chat when a person is there."""
    settings = read_settings(options.config, options.data).replaced(company="Larkstay")
    console = Console(soft_wrap=not sys.stdout.isatty())
    async with Desk.open(settings, data_directory(settings) / "demo") as desk:
        console.print("[bold]frontdesk[/bold] answers customers of Larkstay, an invented home-rental marketplace.")
        report = await desk.knowledge.sync(sample_folder() / "documents", say=lambda line: console.print(Text(line)))
        documents = report.added + report.changed + report.unchanged
        console.print(Text(f"Knowledge base: {documents} help articles, {report.passages} passages.", style="dim"))
        for note in report.notes:
            console.print(Text(note, style="yellow"))
        console.print(Text(desk.how_answers_are_made, style="dim"))
        console.print()
        # How search works was said above; what is left to say is of models.
        terminal, session = _terminal(desk, notes=desk.model.generative)
        for line in (sample_folder() / "demo.jsonl").read_text("utf-8").splitlines():
            step = json.loads(line)
            if step.get("needs_model") and not desk.model.generative:
                continue
            console.print(Text.assemble((PROMPT, "bold cyan"), step["text"], (f"   ({step['note']})", "dim")))
            await session.receive(terminal.message(step["text"]))
        if sys.stdin.isatty() and console.is_terminal:
            console.print(Text("Now you: ask anything; exit or Ctrl-D ends the chat.\n", style="dim"))
            await terminal.listen(session.receive)
        else:
            console.print(Text("With your own documents: frontdesk knowledge sync DIR, then: frontdesk chat"))


def _terminal(desk: Desk, *, notes: bool = True) -> tuple[Terminal, Session]:
    console = Console(soft_wrap=not sys.stdout.isatty())
    beside = Console(stderr=True, soft_wrap=not sys.stderr.isatty()) if notes else None
    terminal = Terminal(console, lambda: _read_line(console), beside)
    return terminal, Session(desk.agent, terminal.deliver, handoff_message=desk.settings["handoff_message"])


def _read_line(console: Console) -> str | None:
    """The next line a person types; `None` at the end of input."""
    if not sys.stdin.isatty():
        line = sys.stdin.buffer.readline()
        return line.decode("utf-8", "replace") if line else None
    with suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in input())
    try:
        return input(PROMPT)
    except EOFError:
        console.print()
        return None


async def _require_documents(desk: Desk) -> None:
    if not await desk.knowledge.documents():
        raise KnowledgeError(
            "The knowledge base is empty.",
            "Bring your documents in with: frontdesk knowledge sync DIR   (or see it work first: frontdesk demo)",
        )


async def _final(desk: Desk, conversation: Conversation) -> Answer | Handoff:
    async with aclosing(desk.agent.reply(conversation)) as events:
        async for event in events:
            if isinstance(event, Answer | Handoff):
                return event
    raise AssertionError("a reply ends with an Answer or a Handoff")


def _tell_notes(result: Answer | Handoff) -> None:
    for note in result.provenance.notes:
        print(f"Note: {note}", file=sys.stderr)  # noqa: T201


def _as_json(result: Answer | Handoff, seconds: float) -> dict[str, Any]:
    usage = result.provenance.usage
    citations = result.citations if isinstance(result, Answer) else ()
    return {
        "outcome": result.outcome,
        "reason": result.reason if isinstance(result, Handoff) else None,
        "answer": result.text,
        "citations": [
            {
                "n": citation.n,
                "document": citation.document,
                "title": citation.title,
                "url": citation.url,
                "passage": citation.passage,
            }
            for citation in citations
        ],
        "model": result.provenance.model,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost_usd": usage.cost_usd,
        },
        "seconds": round(seconds, 3),
    }
