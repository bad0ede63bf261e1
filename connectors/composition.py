"""The composition root: from settings to the objects that do the work. Nothing else reads the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from agent.errors import SettingsError
from agent.graph import SupportAgent
from agent.ledger import Ledger
from agent.messages import Address
from agent.models.base import ROLES, ModelBackend, Prompt, Role
from agent.models.breaker import Breakers
from agent.models.metering import Meter
from agent.models.openai_compatible import Deadlines, OpenAICompatible
from agent.models.pool import Pool
from agent.models.presets import Catalogue, Endpoint, is_local
from agent.models.providers import Surroundings, installed
from agent.models.quotes import NAME as QUOTES
from agent.models.routing import FallbackChain, Models
from agent.rooms import Rooms
from agent.settings import Settings, load
from connectors.channels import Channels, address_of
from knowledge.base import KnowledgeBase
from knowledge.embeddings import Embedder, RemoteEmbedder
from knowledge.embeddings.minilm import MiniLM
from knowledge.errors import KnowledgeError
from knowledge.reranking import RemoteReranker
from knowledge.vectors import VectorStore
from knowledge.vectors.chroma import ChromaServer, EmbeddedChroma
from knowledge.web.pages import Pages

_log = logging.getLogger(__name__)

ANYWHERE = Address("", "", "")
"""No channel in particular: what holds there is what is set for all."""
_ONLY_WHEN_SET: tuple[str, ...] = ("triage", "judge", "vision")
"""Roles that cost another call for each answer, and whose work is done by rules and by the answering model otherwise; and
one that not every model can do."""


def read_settings(config: Path | None = None, data: Path | None = None) -> Settings:
    """The settings of this directory and environment; `data` from the command line is stronger than all."""
    settings = load(Path.cwd(), os.environ, file=config)
    return settings.replaced(data=data) if data is not None else settings


def data_directory(settings: Settings) -> Path:
    """Where state lives: the setting, else the platform's user data directory."""
    if settings["data"] is not None:
        return Path(settings["data"]).absolute()
    from platformdirs import user_data_path

    return user_data_path("frontdesk", appauthor=False)


def database_of(settings: Settings) -> Path | str:
    """Where documents, conversations, tickets and the queue live: the URL of a Postgres database, else the data directory."""
    return str(settings["database_url"]) or data_directory(settings)


def build_ledger(settings: Settings) -> Ledger:
    """The record of conversations, tickets and costs."""
    return Ledger(database_of(settings))


def model_choices(settings: Settings, role: Role = "answer") -> list[str]:
    """The models to try for a role, in order, as settings name them; `quotes` is always the last that answers."""
    own = settings[f"model_{role}"]
    source = f"model_{role}" if own else "model"
    written = own if own or role in _ONLY_WHEN_SET else settings["model"]
    chosen = [choice.strip() for choice in written.split(",") if choice.strip()]
    if written and not chosen:
        raise SettingsError(
            f"{settings.sources[source]}: {source} names no model: {written!r}.", "For example: FRONTDESK_MODEL=qwen"
        )
    if not chosen and role not in _ONLY_WHEN_SET and settings.keys.get("DASHSCOPE_API_KEY"):
        chosen = ["qwen"]
    generative = [choice for choice in dict.fromkeys(chosen) if choice != QUOTES]
    return [*generative, QUOTES] if role == "answer" else generative


def catalogue_of(settings: Settings) -> Catalogue:
    """What resolves choices of models."""
    return Catalogue(
        settings.presets,
        settings.keys,
        settings["model_api_key"],
        settings["embedder_api_key"],
        {"qwen": settings["qwen_region"]},
        tuple(installed().backends),
    )


def _allowed(found: Endpoint, settings: Settings) -> Endpoint:
    if settings["offline"] and not found.local:
        raise SettingsError(
            f"`offline` is on, and {found.name} is not on this machine.",
            "Switch `offline` off, or set FRONTDESK_MODEL=quotes.",
        )
    return found


@dataclass(frozen=True, slots=True)
class ModelBuilder:
    """Makes each model once, and the chains of them: whoever uses the same model shares its breaker and its connections."""

    settings: Settings
    surroundings: Surroundings
    meter: Meter
    breakers: Breakers = field(default_factory=Breakers)
    in_channel: Callable[[Address], Settings] | None = None
    """The settings that hold at an address, if they may change; else those of `settings`."""
    _backends: dict[str, ModelBackend] = field(default_factory=dict)
    _chains: dict[tuple[str, ...], FallbackChain] = field(default_factory=dict)

    def backend(self, choice: str) -> ModelBackend:
        """The model that a choice names. Raises `SettingsError`, also when `offline` forbids it."""
        if choice not in self._backends:
            name, _, model = choice.partition(":")
            plugin = installed().backends.get(name.strip().lower())
            if plugin is not None:
                self._backends[choice] = plugin(model.strip(), self.surroundings)
            else:
                endpoint = _allowed(self.surroundings.catalogue.endpoint(choice), self.settings)
                self._backends[choice] = OpenAICompatible(endpoint, self.surroundings.deadlines, self.surroundings.pool)
        return self._backends[choice]

    def chain(self, choices: list[str]) -> FallbackChain | None:
        """The models of these choices in a row, `None` if there are none."""
        if not choices:
            return None
        key = tuple(choices)
        if key not in self._chains:
            self._chains[key] = FallbackChain([self.backend(choice) for choice in choices], self.breakers, self.meter)
        return self._chains[key]

    def choose(self, role: Role, address: Address) -> ModelBackend | None:
        """The models for a role in a channel."""
        if self.in_channel is not None:
            try:
                return self.chain(model_choices(self.in_channel(address), role))
            except SettingsError as error:
                # Chosen by an admin while it could be used. What the files say was checked at the start.
                _log.warning("The model that was chosen for %s is not used: %s", address.channel, error.message)
        return self.chain(model_choices(self.settings.in_channel(address), role))

    def check(self) -> None:
        """Build everything that is set, so that a mistake is told at the start. Raises `SettingsError`."""
        places = [ANYWHERE, *(address_of(channel) for channel in self.settings.channels)]
        for place in places:
            for role in ROLES:
                self.choose(role, place)
        in_usd = [scope for scope, budget in self.settings.budgets().items() if budget.usd is not None]
        for choice, backend in self._backends.items() if in_usd else ():
            if backend.estimate(Prompt("answer", ()), 1_000).cost_usd is None:
                raise SettingsError(
                    f"budget_{in_usd[0]} is in USD, and the price of {choice} is not known.",
                    f'Write the budget in tokens (budget_{in_usd[0]} = "200000 tokens"), or give the price in '
                    "frontdesk.toml (docs/models.md).",
                )

    async def close(self) -> None:
        """Close every model, and the connections they share."""
        for backend in self._backends.values():
            await backend.close()
        await self.surroundings.pool.close()


def build_embedder(settings: Settings, pool: Pool) -> Embedder | None:
    """What makes vectors; `None` for search by keywords only."""
    choice = settings["embedder"]
    if choice == "none":
        return None
    if choice in ("", "minilm"):
        return MiniLM(download=not settings["offline"])
    server, asked = catalogue_of(settings).embeddings(choice)
    server = _allowed(server, settings)
    return RemoteEmbedder(
        pool.open(server, retries=2),
        server.model,
        batch=asked.batch,
        query_prefix=settings["embedder_query_prefix"] or asked.query_prefix,
        dimensions=settings["embedder_dimensions"] or None,
    )


def build_reranker(settings: Settings, pool: Pool) -> RemoteReranker | None:
    """What puts the passages that were found into a better order, if it is set."""
    if not settings["model_rerank"]:
        return None
    server, asked = catalogue_of(settings).reranking(settings["model_rerank"])
    server = _allowed(server, settings)
    return RemoteReranker(
        pool.open(server), server.model, path=asked.path, style=asked.style, most_texts=asked.most_texts
    )


def build_store(settings: Settings) -> VectorStore:
    """Where vectors are kept for searching: a Chroma server if one is set, else Chroma in the data directory."""
    url = settings["chroma_url"].rstrip("/")
    if not url:
        return EmbeddedChroma()
    if settings["offline"] and not is_local(url):
        raise SettingsError(
            f"`offline` is on, and the Chroma server {url} is not on this machine.",
            "Switch `offline` off, or leave CHROMA_URL out.",
        )
    return ChromaServer(
        url,
        token=settings["chroma_token"],
        tenant=settings["chroma_tenant"],
        database=settings["chroma_database"],
    )


def build_knowledge(settings: Settings, pool: Pool | None = None, data: Path | None = None) -> KnowledgeBase:
    """The knowledge base of the settings; in `data`, documents and all, if that is given."""
    pool = pool or Pool()
    return KnowledgeBase(
        data or data_directory(settings),
        build_embedder(settings, pool),
        database=data or database_of(settings),
        language=settings["language"],
        reranker=build_reranker(settings, pool),
        store=build_store(settings) if data is None else None,
    )


def build_pages(settings: Settings) -> Pages:
    """What fetches web pages, from public addresses and those that are allowed. Raises `SettingsError`."""
    allowed = frozenset(settings["pages_allow"])
    if settings["offline"] and not allowed:
        raise SettingsError(
            "`offline` is on, and web pages are not on this machine.",
            "Switch `offline` off, or name hosts of your own in `pages_allow`.",
        )
    return Pages(allow=allowed)


def build_models(
    settings: Settings,
    pool: Pool | None = None,
    knowledge: KnowledgeBase | None = None,
    meter: Meter | None = None,
    in_channel: Callable[[Address], Settings] | None = None,
) -> ModelBuilder:
    """What makes models; without a knowledge base `quotes` goes by words alone, without a meter nothing is recorded."""
    deadlines = Deadlines(settings["first_token_seconds"], settings["idle_seconds"], settings["total_seconds"])
    similarity = knowledge.similarity if knowledge is not None else None
    surroundings = Surroundings(catalogue_of(settings), deadlines, pool or Pool(), similarity)
    return ModelBuilder(settings, surroundings, meter or Meter(), in_channel=in_channel)


@dataclass(frozen=True, slots=True)
class Desk:
    """What answering a customer takes. Use it as `async with Desk.open(settings) as desk`."""

    settings: Settings
    knowledge: KnowledgeBase
    models: ModelBuilder
    agent: SupportAgent
    ledger: Ledger
    channels: Channels
    database: Path | str
    """Of everything that is kept: the data directory, or the URL of a Postgres database."""

    @classmethod
    def open(cls, settings: Settings, data: Path | None = None) -> Desk:
        """Build everything; nothing is read or connected before it is used. Raises `SettingsError`."""
        pool = Pool()
        knowledge = build_knowledge(settings, pool, data)
        database = data or database_of(settings)
        ledger = Ledger(database)
        channels = Channels(settings, ledger)
        models = build_models(settings, pool, knowledge, Meter(ledger, settings.budgets()), channels.settings)
        models.check()
        agent = _agent(settings, Models(models.choose), knowledge, channels)
        return cls(settings, knowledge, models, agent, ledger, channels, database)

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.ledger.close)
            stack.push_async_callback(self.knowledge.close)
            stack.push_async_callback(self.models.close)

    @property
    def rooms(self) -> Rooms:
        """What is set for the room of an address."""
        return self.channels.room

    async def refresh(self) -> None:
        """Take over what was changed for channels, here or by another process. Raises `StoreError`."""
        await self.channels.refresh()

    async def set_channel(self, address: Address, values: Mapping[str, str], by: str) -> None:
        """Change what is set for the channel at this address; empty goes back. Raises `SettingsError`, `StoreError`."""
        await self.channels.set(address, values, by, self._build_model)

    def _build_model(self, choice: str) -> None:
        """A model that is not known, or has no key, is told to who chooses it."""
        self.models.chain(model_choices(self.settings.replaced(model=choice, model_answer="")))

    async def require_documents(self) -> None:
        """Raises `KnowledgeError` when there is nothing to answer from."""
        if not await self.knowledge.documents():
            raise KnowledgeError(
                "The knowledge base is empty.",
                "Bring your documents in with: frontdesk knowledge sync DIR   (or see it work first: frontdesk demo)",
            )

    @property
    def model(self) -> ModelBackend:
        """What answers where no channel has a model of its own."""
        found = self.models.choose("answer", ANYWHERE)
        assert found is not None, "quotes always answers"
        return found

    def agent_with(self, choice: str) -> SupportAgent:
        """An agent that answers with this model and nothing behind it. Raises `SettingsError`."""
        only = self.models.chain([choice])
        assert only is not None, "there is one model in it"
        return _agent(self.settings, Models.only(only), self.knowledge, self.channels)

    def model_for(self, role: Role) -> ModelBackend | None:
        """The models for a role; those of `model` for one that is not set, as far as they write text of their own."""
        return self.models.choose(role, ANYWHERE) or self.models.chain(model_choices(self.settings, "rewrite"))

    @property
    def how_answers_are_made(self) -> str:
        """One line: which model answers, and how to switch."""
        if self.model.generative:
            return f"Answers are written by {self.model.name}. To switch: FRONTDESK_MODEL=... (docs/models.md)"
        return (
            "Answers are quoted from the documents, no model is used. "
            "To switch: FRONTDESK_MODEL=qwen with DASHSCOPE_API_KEY=... (docs/models.md)"
        )


def _agent(settings: Settings, models: Models, knowledge: KnowledgeBase, channels: Channels) -> SupportAgent:
    # Two seconds are left for looking up, so that a customer hears something in the time that is set.
    seconds = max(1.0, settings["total_seconds"] - 2.0)
    return SupportAgent(
        models, knowledge, channels.persona, max_tokens=settings["max_answer_tokens"], total_seconds=seconds
    )


def sample_folder() -> Path:
    """The sample knowledge base: inside the installed package, or in `examples/` of a checkout."""
    package = Path(__file__).resolve().parent
    installed_there = package / "sample"
    return installed_there if installed_there.is_dir() else package.parent / "examples" / "larkstay"
