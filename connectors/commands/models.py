"""`frontdesk models` and `frontdesk models check`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.errors import ModelError, SettingsError
from agent.messages import Usage
from agent.models.base import ROLES, ModelBackend, Prompt, PromptMessage, Role, Tool, complete
from agent.models.presets import as_of, price_in_words
from agent.models.quotes import NAME as QUOTES
from agent.settings import Settings
from connectors.commands.options import Options
from connectors.composition import (
    ModelBuilder,
    build_embedder,
    build_models,
    build_reranker,
    catalogue_of,
    model_choices,
    read_settings,
)
from knowledge.errors import EmbedderError, RerankerError

SMALL = 200
"""Tokens that an answer may have: enough for a model that thinks a little first."""
_READY = (PromptMessage("user", "Reply with the word: ready"),)
_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
_TOOL = Tool(
    "look_up_order",
    "Look up an order by its number.",
    {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
)


async def models(options: Options, *, as_json: bool) -> None:
    """List the presets, with price, context and whether the key is set, and what is in use for each role."""
    settings = read_settings(options.config, options.data)
    catalogue = catalogue_of(settings)
    rows = [
        {
            "preset": name,
            "provider": preset.get("title", name),
            "model": preset.get("default"),
            "price": price_in_words(preset),
            "context": preset.get("models", {}).get(preset.get("default"), {}).get("context"),
            "key": next(iter(preset.get("keys", ())), None),
            "key_is_set": catalogue.key_is_set(name),
        }
        for name, preset in settings.presets.items()
    ]
    in_use = {role: model_choices(settings, role) for role in ROLES}
    if as_json:
        print(json.dumps({"as_of": as_of(), "presets": rows, "in_use": in_use}, ensure_ascii=False))  # noqa: T201
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("preset", no_wrap=True)
    table.add_column("default model", overflow="fold")
    table.add_column("$ in / out", no_wrap=True)
    table.add_column("context", justify="right", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("set", no_wrap=True)
    for row in rows:
        default = {"$first": "the first it lists", None: "(name it)"}.get(row["model"], row["model"])
        there, style = {True: ("yes", "green"), False: ("no", "dim"), None: ("", "")}[row["key_is_set"]]
        table.add_row(
            row["preset"], default, row["price"], _thousands(row["context"]), row["key"] or "", Text(there, style=style)
        )
    console.print(table)
    about = f"$ is USD per 1M tokens, as of {as_of()}. A key without yes or no is optional.\n"
    about += "Any other server: FRONTDESK_MODEL=http://HOST:PORT/v1#MODEL"
    console.print(Text(about, style="dim"), soft_wrap=True)
    console.print("\nIn use:")
    for role, choices in in_use.items():
        console.print(Text(f"  {role:<10} {_said(role, choices)}"), soft_wrap=True)
    console.print(Text("\nTry them with: frontdesk models check"))


def _said(role: Role, choices: Sequence[str]) -> str:
    without = {"triage": "rules, and the model that answers", "judge": "the checks that code makes"}
    return ", ".join(choices) or without.get(role, "no model")


@dataclass(frozen=True, slots=True)
class Check:
    """What works with one model. `json` and `tools` are `None` when they were not tried."""

    model: str
    roles: tuple[str, ...]
    stream: bool
    json: bool | None = None
    tools: bool | None = None
    usage: str = ""
    """"reported", "estimated", or empty when there was no answer."""
    first_token_seconds: float | None = None
    seconds: float | None = None
    cost_usd: float | None = None
    problems: tuple[str, ...] = field(default_factory=tuple)


async def check(options: Options, names: Sequence[str], *, as_json: bool) -> int:
    """Send a tiny call through each model in use, or through those of `names` (models or roles). 1 if one does not answer."""
    settings = read_settings(options.config, options.data)
    console = Console(soft_wrap=not sys.stdout.isatty())
    checks: list[Check] = []
    async with AsyncExitStack() as stack:
        builder = build_models(settings)
        stack.push_async_callback(builder.close)
        for choice, roles in _wanted(settings, names).items():
            if not as_json and console.is_terminal:
                console.print(Text(f"asking {choice} ...", style="dim"), end="\r")
            checks.append(await check_model(builder, choice, roles))
        if not names:
            checks += await _others(settings, builder)
    if as_json:
        print(json.dumps({"checks": [asdict(one) for one in checks]}, ensure_ascii=False))  # noqa: T201
    else:
        _report(console, checks)
    return 0 if all(one.stream for one in checks) else 1


def _wanted(settings: Settings, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The choices to check, each with the roles it has."""
    used: dict[str, tuple[str, ...]] = {}
    for role in ROLES:
        for choice in model_choices(settings, role):
            used[choice] = (*used.get(choice, ()), role)
    if not names:
        return used
    wanted: dict[str, tuple[str, ...]] = {}
    for name in names:
        if name in ROLES:
            wanted |= {choice: used[choice] for choice in used if name in used[choice]}
        else:
            wanted[name] = used.get(name, ())
    return wanted


async def check_model(builder: ModelBuilder, choice: str, roles: tuple[str, ...]) -> Check:
    """Stream, JSON, tools and usage of one model. Errors become its problems."""
    if choice == QUOTES:
        return Check(choice, roles, True, usage="reported", cost_usd=0.0)
    try:
        backend = builder.backend(choice)
    except SettingsError as error:
        return Check(choice, roles, False, problems=(str(error),))
    started = time.monotonic()
    first: float | None = None
    usage = Usage()
    problems: list[str] = []
    try:
        async with aclosing(backend.stream(Prompt("answer", _READY, max_tokens=SMALL, temperature=0.0))) as chunks:
            async for chunk in chunks:
                first = first or (time.monotonic() - started if chunk.text.strip() else None)
                usage += chunk.usage
    except ModelError as error:
        return Check(choice, roles, False, problems=(str(error),))
    seconds = time.monotonic() - started
    structured, cost, problem = await _tried(backend, _json_prompt(), "JSON")
    usage, problems = usage + cost, [*problems, problem]
    called, cost, problem = await _tried(backend, _tool_prompt(), "tools")
    usage, problems = usage + cost, [*problems, problem]
    return Check(
        backend.name,
        roles,
        True,
        structured,
        called,
        "estimated" if usage.estimated else "reported",
        first,
        seconds,
        usage.cost_usd,
        tuple(filter(None, problems)),
    )


def _json_prompt() -> Prompt:
    asked = (PromptMessage("user", "Which colour is a ripe lemon? Reply in JSON."),)
    return Prompt("triage", asked, max_tokens=SMALL, temperature=0.0, schema=_SCHEMA)


def _tool_prompt() -> Prompt:
    asked = (PromptMessage("user", "Look up the order with the number 4711."),)
    return Prompt("triage", asked, max_tokens=SMALL, temperature=0.0, tools=(_TOOL,), tool_choice="required")


async def _tried(backend: ModelBackend, prompt: Prompt, what: str) -> tuple[bool, Usage, str]:
    try:
        done = await complete(backend, prompt)
    except ModelError as error:
        return False, error.usage, f"{what}: {error}"
    if prompt.tools and not done.last.tool_calls:
        return False, done.usage, "tools: it answered without calling the tool it was given."
    return True, done.usage, ""


async def _others(settings: Settings, builder: ModelBuilder) -> list[Check]:
    """The embedder and the reranker, where they are servers."""
    checks = []
    pool = builder.surroundings.pool
    if settings["embedder"] not in ("", "minilm", "none"):
        started = time.monotonic()
        try:
            embedder = build_embedder(settings, pool)
            assert embedder is not None, "an embedder is set"
            await embedder.embed_query("Is anybody there?")
            checks.append(Check(embedder.name, ("embed",), True, seconds=time.monotonic() - started))
        except (EmbedderError, SettingsError) as error:
            checks.append(Check(settings["embedder"], ("embed",), False, problems=(str(error),)))
    if settings["model_rerank"]:
        started = time.monotonic()
        try:
            reranker = build_reranker(settings, pool)
            assert reranker is not None, "a reranker is set"
            await reranker.rerank("hello", ["hello", "world"])
            checks.append(Check(reranker.name, ("rerank",), True, seconds=time.monotonic() - started))
        except (RerankerError, SettingsError) as error:
            checks.append(Check(settings["model_rerank"], ("rerank",), False, problems=(str(error),)))
    return checks


def _report(console: Console, checks: Sequence[Check]) -> None:
    for one in checks:
        roles = f"  ({', '.join(one.roles)})" if one.roles else ""
        console.print(Text.assemble((one.model, "bold"), (roles, "dim")), soft_wrap=True)
        parts = [_mark("stream", one.stream), _mark("JSON", one.json), _mark("tools", one.tools)]
        parts += [Text(f"usage {one.usage}")] if one.usage and one.model != QUOTES else []
        parts += [Text(f"first word {one.first_token_seconds:.2f} s")] if one.first_token_seconds is not None else []
        parts += [Text(f"whole {one.seconds:.2f} s")] if one.seconds is not None else []
        parts += [Text(_cost(one))] if one.usage else []
        console.print(Text("  ") + Text(" · ").join(part for part in parts if part), soft_wrap=True)
        for problem in one.problems:
            for line in problem.split("\n"):
                console.print(Text(f"    {line}", style="" if one.stream else "red"), soft_wrap=True)
    if not checks:
        console.print("No model is in use for that.")


def _mark(what: str, works: bool | None) -> Text:
    if works is None:
        return Text("")
    return Text.assemble(f"{what} ", ("yes", "green") if works else ("no", "bold red"))


def _cost(one: Check) -> str:
    return "cost not known" if one.cost_usd is None else f"${one.cost_usd:.6f}" if one.cost_usd else "free"


def _thousands(tokens: int | None) -> str:
    return f"{tokens // 1000}K" if tokens else ""
