"""The composition root: from settings to the objects that do the work. Nothing else reads the environment."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.errors import SettingsError
from agent.graph import Persona, SupportAgent
from agent.models.base import ModelBackend
from agent.models.openai_compatible import Deadlines, OpenAICompatible, open_client
from agent.models.presets import Endpoint, endpoint
from agent.models.quotes import NAME as QUOTES
from agent.models.quotes import Quotes
from agent.models.routing import FallbackChain
from agent.settings import Settings, load
from knowledge.base import KnowledgeBase
from knowledge.embeddings import Embedder, RemoteEmbedder
from knowledge.minilm import MiniLM


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


def model_choices(settings: Settings) -> list[str]:
    """The models to try, in order, as settings name them; `quotes` is always the last."""
    chosen = [choice.strip() for choice in settings["model"].split(",") if choice.strip()]
    if settings["model"] and not chosen:
        raise SettingsError(
            f"{settings.sources['model']}: model names no model: {settings['model']!r}.",
            "For example: FRONTDESK_MODEL=qwen",
        )
    if not chosen and settings.keys.get("DASHSCOPE_API_KEY"):
        chosen = ["qwen"]
    return [*(choice for choice in chosen if choice != QUOTES), QUOTES]


def endpoint_of(choice: str, settings: Settings, *, purpose: str = "answer") -> Endpoint:
    """The server behind a choice of model or embedder. Raises `SettingsError`, also when `offline` forbids it."""
    url_key = settings["embedder_api_key" if purpose == "embed" else "model_api_key"]
    found = endpoint(choice, settings.keys, url_key=url_key, region=settings["qwen_region"], purpose=purpose)
    if settings["offline"] and not found.local:
        raise SettingsError(
            f"`offline` is on, and {choice} is not on this machine.",
            "Switch `offline` off, or set FRONTDESK_MODEL=quotes.",
        )
    return found


def build_model(settings: Settings, knowledge: KnowledgeBase) -> ModelBackend:
    """The chain of models that answers."""
    deadlines = Deadlines(settings["first_token_seconds"], settings["idle_seconds"], settings["total_seconds"])
    backends: list[ModelBackend] = []
    for choice in model_choices(settings):
        if choice == QUOTES:
            backends.append(Quotes(knowledge.similarity))
        else:
            backends.append(OpenAICompatible(endpoint_of(choice, settings), deadlines))
    return FallbackChain(backends)


def build_embedder(settings: Settings) -> Embedder | None:
    """What makes vectors; `None` for search by keywords only."""
    choice = settings["embedder"]
    if choice == "none":
        return None
    if choice in ("", "minilm"):
        return MiniLM(download=not settings["offline"])
    server = endpoint_of(choice, settings, purpose="embed")
    return RemoteEmbedder(
        open_client(server, retries=2),
        server.model,
        batch=server.embed_batch,
        query_prefix=settings["embedder_query_prefix"],
        dimensions=settings["embedder_dimensions"] or None,
    )


def build_knowledge(settings: Settings, data: Path | None = None) -> KnowledgeBase:
    """The knowledge base in `data`, by default the data directory of the settings."""
    directory = data or data_directory(settings)
    return KnowledgeBase(directory, build_embedder(settings), language=settings["language"])


@dataclass(frozen=True, slots=True)
class Desk:
    """What answering a customer takes. Use it as `async with Desk.open(settings) as desk`."""

    settings: Settings
    knowledge: KnowledgeBase
    model: ModelBackend
    agent: SupportAgent

    @classmethod
    def open(cls, settings: Settings, data: Path | None = None) -> Desk:
        """Build everything; nothing is read or connected before it is used."""
        knowledge = build_knowledge(settings, data)
        model = build_model(settings, knowledge)
        persona = Persona(settings["company"], settings["handoff_message"])
        agent = SupportAgent(model, knowledge, persona, max_tokens=settings["max_answer_tokens"])
        return cls(settings, knowledge, model, agent)

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.knowledge.close)
            stack.push_async_callback(self.model.close)

    @property
    def how_answers_are_made(self) -> str:
        """One line: which model answers, and how to switch."""
        if self.model.generative:
            return f"Answers are written by {self.model.name}. To switch: FRONTDESK_MODEL=... (docs/models.md)"
        return (
            "Answers are quoted from the documents, no model is used. "
            "To switch: FRONTDESK_MODEL=qwen with DASHSCOPE_API_KEY=... (docs/models.md)"
        )


def sample_folder() -> Path:
    """The sample knowledge base: inside the installed package, or in `examples/` of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "sample"
    return installed if installed.is_dir() else package.parent / "examples" / "larkstay"
