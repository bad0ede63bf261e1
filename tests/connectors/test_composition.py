"""From settings to models: which ones for which role and channel, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SettingsError
from agent.messages import Address
from agent.models.base import ModelBackend, Role
from agent.models.routing import FallbackChain
from agent.settings import Settings, load
from connectors.composition import ANYWHERE, ModelBuilder, build_models, catalogue_of, model_choices

SLACK = Address("slack", "T1", "C1", "1699.01")
HERE = "http://127.0.0.1:9/v1#"


def read(directory: Path, toml: str = "", **environment: str) -> Settings:
    (directory / "frontdesk.toml").write_text(toml)
    return load(directory, environment)


def names(model: ModelBackend | None) -> list[str]:
    assert isinstance(model, FallbackChain)
    return list(model.names)


@pytest.mark.parametrize(
    ("role", "choices"),
    [
        ("answer", ["deepseek", "ollama:qwen3.5:9b", "quotes"]),
        ("rewrite", ["qwen"]),
        ("summarise", ["qwen"]),
        ("triage", []),
        ("judge", []),
    ],
)
def test_an_unset_role_has_the_main_model_or_costs_nothing(tmp_path: Path, role: Role, choices: list[str]) -> None:
    settings = read(
        tmp_path, FRONTDESK_MODEL="qwen", FRONTDESK_MODEL_ANSWER="deepseek, ollama:qwen3.5:9b,deepseek,quotes"
    )
    assert model_choices(settings, role) == choices


def test_without_settings_documents_are_quoted_and_a_key_is_enough_for_qwen(tmp_path: Path) -> None:
    assert model_choices(read(tmp_path)) == ["quotes"]
    assert model_choices(read(tmp_path, DASHSCOPE_API_KEY="k")) == ["qwen", "quotes"]
    with pytest.raises(SettingsError, match="model_judge names no model"):
        model_choices(read(tmp_path, FRONTDESK_MODEL_JUDGE=" , "), "judge")


def test_the_nearest_channel_wins_and_its_model_stands_for_every_role(tmp_path: Path) -> None:
    toml = f"""
model = "{HERE}main"
model_rewrite = "{HERE}rewrite"
[channels.slack]
model_judge = "{HERE}judge"
[channels."slack:T1"]
model = "{HERE}team"
[channels."slack:T1/C1"]
model_answer = "{HERE}room"
"""
    builder = build_models(read(tmp_path, toml))
    assert names(builder.choose("answer", ANYWHERE)) == [f"{HERE}main", "quotes"]
    assert names(builder.choose("rewrite", ANYWHERE)) == [f"{HERE}rewrite"]
    assert names(builder.choose("answer", SLACK)) == [f"{HERE}room", "quotes"]
    assert names(builder.choose("rewrite", SLACK)) == [f"{HERE}team"]
    assert builder.choose("judge", SLACK) is None, "the team's model replaced those of the roles above it"
    other = Address("slack", "T2", "C1")
    assert names(builder.choose("judge", other)) == [f"{HERE}judge"]


def test_whoever_uses_the_same_model_shares_it(tmp_path: Path) -> None:
    builder = build_models(read(tmp_path, FRONTDESK_MODEL=f"{HERE}main"))
    assert builder.choose("answer", ANYWHERE) is builder.choose("answer", SLACK)
    assert builder.backend(f"{HERE}main") is builder.backend(f"{HERE}main")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[channels."slack:T1/C1"]\nmodel = "qwn"', "There is no model preset 'qwn'"),
        ('model_judge = "deepseek"', "DEEPSEEK_API_KEY is not set"),
        (f'model = "{HERE}m"\nbudget_day = "5"', "the price of http://127.0.0.1:9/v1#m is not known"),
        ('model = "https://llm.example/v1#m"\noffline = true', "is not on this machine"),
    ],
)
def test_mistakes_are_told_at_the_start(tmp_path: Path, toml: str, says: str) -> None:
    builder: ModelBuilder = build_models(read(tmp_path, toml))
    with pytest.raises(SettingsError, match=says):
        builder.check()


def test_regions_embedders_and_rerankers_come_from_the_presets(tmp_path: Path) -> None:
    settings = read(
        tmp_path, FRONTDESK_QWEN_REGION="ws-1.eu-central-1", DASHSCOPE_API_KEY="k", FRONTDESK_MODEL_EMBED="qwen"
    )
    assert settings["embedder"] == "qwen"
    catalogue = catalogue_of(settings)
    host = "https://ws-1.eu-central-1.maas.aliyuncs.com"
    assert catalogue.endpoint("qwen").base_url == f"{host}/compatible-mode/v1"
    assert catalogue.endpoint("qwen@us").base_url.startswith("https://dashscope-us.")
    embedder, asked = catalogue.embeddings("qwen")
    assert (embedder.model, asked.batch) == ("text-embedding-v4", 10)
    server, rerank = catalogue.reranking("qwen")
    assert (server.model, rerank.path) == ("qwen3-rerank", f"{host}/compatible-api/v1/reranks")
