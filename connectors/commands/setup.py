"""`frontdesk init` and `frontdesk doctor`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent.errors import ModelError, SettingsError
from agent.models.base import Prompt, PromptMessage, complete
from agent.models.pool import Pool
from agent.models.quotes import NAME as QUOTES
from agent.settings import DOTENV, FILE, Settings, as_dotenv, as_toml
from connectors import logs
from connectors.commands import discord, slack
from connectors.commands.findings import Finding
from connectors.commands.options import Options
from connectors.composition import (
    build_embedder,
    build_knowledge,
    build_ledger,
    build_models,
    build_store,
    data_directory,
    database_of,
    model_choices,
    read_settings,
)
from connectors.places import check_staff_channel
from knowledge.database import RESTORE, damage
from knowledge.errors import EmbedderError, FolderError, FrontdeskError
from knowledge.vectors.chroma import ChromaServer

EXAMPLE_DOCUMENT = """---
title: How to write a document
audience: public
updated: 2026-11-23
tags: [example]
---
Replace this file by your own documents: Markdown, HTML, text, or FAQ tables (CSV, JSON, JSONL).

## What makes a good document

- One subject for each document, with a title that customers would recognise.
- A heading for each question. frontdesk cites the passage below the heading.
- Sentences that can be understood alone, because they may be quoted.

## Who may read a document

Customers see documents with `audience: public`, which is also the default. Any other audience stays inside.
"""


def init(directory: Path) -> None:
    """Write a starter. Nothing that is there is overwritten."""
    console = Console(soft_wrap=not sys.stdout.isatty())
    wanted = {
        directory / FILE: as_toml(),
        directory / f"{DOTENV}.example": as_dotenv(),
        directory / "documents" / "how-to-write-a-document.md": EXAMPLE_DOCUMENT,
    }
    try:
        (directory / "documents").mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            if path.exists():
                console.print(Text(f"kept      {path} (it is already there)", style="dim"), soft_wrap=True)
                continue
            path.write_text(text, "utf-8")
            console.print(Text(f"written   {path}"), soft_wrap=True)
    except OSError as error:
        raise FolderError(f"{directory} cannot be written: {error.strerror}.", "Choose another directory.") from error
    there = "" if directory.resolve() == Path.cwd() else f"cd {directory}, "
    console.print(Text(f"\nNext: {there}put documents into documents/, then type"), soft_wrap=True)
    console.print(Text("  frontdesk knowledge sync documents\n  frontdesk chat"))


async def doctor(options: Options, *, as_json: bool) -> int:
    """Check everything that is set up. Returns the exit status: 1 when something has to be mended."""
    console = Console(soft_wrap=not sys.stdout.isatty())
    findings: list[Finding] = []
    async with aclosing(_findings(options)) as found:
        async for finding in found:
            findings.append(finding)
            if not as_json:
                mark, style = (
                    ("FAIL", "bold red")
                    if not finding.ok
                    else ("note", "yellow")
                    if finding.hint
                    else ("ok  ", "green")
                )
                console.print(Text.assemble((mark, style), f"  {finding.check}: {finding.message}"), soft_wrap=True)
                if finding.hint:
                    console.print(Text(f"      {finding.hint}"), soft_wrap=True)
    well = all(finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"ok": well, "checks": [asdict(finding) for finding in findings]}, ensure_ascii=False))  # noqa: T201
    return 0 if well else 1


async def _findings(options: Options) -> AsyncGenerator[Finding]:
    try:
        settings = read_settings(options.config, options.data)
    except SettingsError as error:
        yield Finding("settings", False, error.message, error.hint)
        return
    given = sorted({place.partition(", line")[0] for place in settings.sources.values()} - {"default"})
    yield Finding("settings", True, f"read from {', '.join(given)}" if given else "all defaults")
    data = data_directory(settings)
    yield _data_finding(data)
    yield await _database_finding(settings)
    yield await _embedder_finding(settings)
    if settings["chroma_url"]:
        yield await _chroma_finding(settings)
    yield await _knowledge_finding(settings)
    async for finding in _model_findings(settings):
        yield finding
    for platform in (slack, discord):
        async with aclosing(platform.findings(settings)) as found:
            async for finding in found:
                yield finding
    try:
        check_staff_channel(settings)
    except SettingsError as error:
        yield Finding("staff channel", False, error.message, error.hint)
    if not settings["staff_channel"]:
        yield Finding(
            "staff channel",
            True,
            "none",
            "Tell where hand-offs go: FRONTDESK_STAFF_CHANNEL=slack:T.../C... or discord:SERVER/CHANNEL",
        )


def _data_finding(data: Path) -> Finding:
    existing = next(path for path in (data, *data.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        return Finding("data directory", True, str(data))
    return Finding(
        "data directory", False, f"{data} cannot be written", "Choose another with --data DIR or FRONTDESK_DATA."
    )


async def _database_finding(settings: Settings) -> Finding:
    """Whether the conversations can be read, and whether something waits there for a person."""
    from agent.ledger.database import SCHEMA

    place = database_of(settings)
    named = "SQLite in the data directory" if isinstance(place, Path) else logs.redacted(place)
    ledger = build_ledger(settings)
    try:
        counts = await ledger.counts()
    except FrontdeskError as error:
        return Finding("database", False, error.message, error.hint)
    finally:
        await ledger.close()
    if isinstance(place, Path) and (found := await asyncio.to_thread(damage, place)):
        return Finding("database", False, f"{named} is damaged: {found}", RESTORE)
    message = (
        f"{named}, version {SCHEMA.versions[-1]}; {counts.queued} questions wait, {counts.failed} failed, "
        f"{counts.open_tickets} tickets are open"
    )
    return Finding("database", True, message, "Look at them: frontdesk turns --state failed" if counts.failed else "")


async def _embedder_finding(settings: Settings) -> Finding:
    try:
        embedder = build_embedder(settings, Pool())
        if embedder is None:
            return Finding("embedder", True, "none: search by keywords only, as set")
        vector = await embedder.embed_query("Is anybody there?")
    except (EmbedderError, SettingsError) as error:
        hint = error.hint or 'To leave it at that, set embedder = "none".'
        works = isinstance(error, EmbedderError)
        return Finding("embedder", works, f"{error.message} Search works by keywords only.", hint)
    return Finding("embedder", True, f"{embedder.name}, vectors of length {len(vector)}")


async def _chroma_finding(settings: Settings) -> Finding:
    try:
        store = build_store(settings)
        assert isinstance(store, ChromaServer), "an address is set"
        version = await store.version()
    except FrontdeskError as error:
        hint = error.hint or "Search works by keywords meanwhile. To go without a server, leave CHROMA_URL out."
        return Finding("Chroma server", False, error.message, hint)
    return Finding("Chroma server", True, f"{settings['chroma_url']} answers, version {version}")


async def _knowledge_finding(settings: Settings) -> Finding:
    try:
        knowledge = build_knowledge(settings)
        try:
            health = await knowledge.health()
        finally:
            await knowledge.close()
    except FrontdeskError as error:
        return Finding("knowledge base", False, error.message, error.hint)
    if not health.documents:
        return Finding("knowledge base", False, "it is empty", "Bring documents in with: frontdesk knowledge sync DIR")
    message = f"{health.documents} documents, {health.passages} passages, searched by {health.mode}"
    if health.keeper:
        message += f"; the index is kept by {health.keeper}"
    return Finding("knowledge base", True, message, health.note)


async def _model_findings(settings: Settings) -> AsyncGenerator[Finding]:
    builder = build_models(settings)
    try:
        for choice in model_choices(settings):
            if choice == QUOTES:
                yield Finding("model quotes", True, "repeats the documents' own words; needs nothing")
                continue
            try:
                backend = builder.backend(choice)
                prompt = Prompt("answer", (PromptMessage("user", "Reply with the word: ready"),), max_tokens=200)
                usage = (await complete(backend, prompt)).usage
            except SettingsError as error:
                yield Finding(f"model {choice}", False, error.message, error.hint)
            except ModelError as error:
                hint = error.hint or "Set FRONTDESK_MODEL to another model."
                yield Finding(f"model {choice}", False, error.message, hint)
            else:
                tokens = usage.prompt_tokens + usage.completion_tokens
                yield Finding(f"model {choice}", True, f"answers ({tokens} tokens); more: frontdesk models check")
    finally:
        await builder.close()
