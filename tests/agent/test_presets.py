"""Which model a setting means, on which server, with which key, in which dialect. Prices are in test_pricing."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import SettingsError
from agent.messages import Usage
from agent.models.preset_schema import checked
from agent.models.presets import (
    FIRST,
    NO_KEY,
    Catalogue,
    Dialect,
    Endpoint,
    Presets,
    as_markdown,
    as_of,
    built_in,
    key_names,
    merged,
)

KEYS = {name: f"key-of-{name}" for name in key_names()}
SECRET = "sk-abcdefghijklmnopqrstuvwxyz123456"
LOCAL = {"ollama", "vllm", "sglang", "llamacpp", "lmstudio", "transformers"}
ALL = sorted(built_in())


def endpoint(choice: str, keys: dict[str, str] | None = None, *, url_key: str = "", **regions: str) -> Endpoint:
    return Catalogue(built_in(), KEYS if keys is None else keys, url_key, regions=regions).endpoint(choice)


def refused(choice: str, keys: dict[str, str] | None = None, **regions: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        endpoint(choice, keys or {}, **regions)
    return caught.value


def refused_embedder(choice: str, keys: dict[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Catalogue(built_in(), keys or {}).embeddings(choice)
    return caught.value


# --- presets


@pytest.mark.parametrize("name", ALL)
def test_every_preset_makes_an_endpoint(name: str) -> None:
    preset = built_in()[name]
    found = endpoint(f"{name}:some/model:9b")
    assert (found.name, found.vendor, found.model) == (f"{name}:some/model:9b", name, "some/model:9b")
    assert found.base_url.startswith("http")
    assert found.base_url == preset["base_url"]
    assert found.api_key == (KEYS[preset["keys"][0]] if preset["keys"] else NO_KEY)
    assert list(found.dialect.thinking_off) == preset["thinking_off"]
    assert list(found.dialect.json) == preset["json"]
    assert found.local == (name in LOCAL)
    assert found.price.cost(Usage(1_000, 1_000)) == (0.0 if preset.get("free") else None)
    json.dumps([dict(body) for body in found.dialect.thinking_off])


def test_every_preset_has_the_form_that_peoples_own_must_have() -> None:
    assert checked(built_in(), "presets.json") == built_in()


@pytest.mark.parametrize("name", sorted(set(ALL) - LOCAL - {"huggingface"}))
def test_every_preset_has_a_default_model_with_a_price(name: str) -> None:
    found = endpoint(name)
    assert found.name == f"{name}:{found.model}"
    cost = found.price.cost(Usage(1_000_000, 0))
    assert cost is not None
    assert cost > 0
    assert found.price.as_of == as_of()
    assert found.price.source


def test_the_price_of_a_router_is_not_known_before_it_has_chosen() -> None:
    found = endpoint("huggingface")
    assert found.model == "Qwen/Qwen3.5-9B:cheapest"
    assert found.price.cost(Usage(1, 1)) is None


@pytest.mark.parametrize("name", sorted(name for name in ALL if built_in()[name]["default"] == FIRST))
def test_a_server_that_holds_one_model_is_asked_for_its_name(name: str) -> None:
    found = endpoint(name, {})
    assert (found.name, found.model, found.price.cost(Usage(1, 1))) == (name, "", 0.0)


def test_qwen_thinks_only_when_it_is_told_to() -> None:
    assert endpoint("qwen").dialect.thinking_off == ({"enable_thinking": False},)


def test_a_models_own_dialect_goes_before_its_servers() -> None:
    assert endpoint("groq").dialect.always_thinks
    found = endpoint("groq:qwen/qwen3.8-27b").dialect
    assert (found.always_thinks, found.thinking_off) == (False, ({"reasoning_effort": "none"},))
    assert found.max_tokens_field == "max_completion_tokens"


def test_a_bare_address_is_asked_to_think_less_only_once_it_is_seen_to_think() -> None:
    found = endpoint("http://host/v1#m").dialect
    assert found == Dialect()
    assert found.thinking_off[0] == {}


@pytest.mark.parametrize("name", [name for name in ALL if not built_in()[name].get("key_optional")])
def test_a_missing_key_is_named(name: str) -> None:
    variable = built_in()[name]["keys"][0]
    error = refused(name)
    assert error.message == f"{name} needs a key, and {variable} is not set."
    assert f"{variable}=..." in error.hint
    assert "FRONTDESK_MODEL=quotes" in error.hint
    assert "FRONTDESK_EMBEDDER=minilm" in refused_embedder(f"{name}:x").hint
    with pytest.raises(SettingsError, match="no FRONTDESK_MODEL_RERANK"):
        Catalogue(built_in()).reranking(f"{name}:x")


def test_any_of_a_providers_keys_will_do_and_some_need_none() -> None:
    assert endpoint("zai", {"ZHIPU_API_KEY": "z", "ZAI_API_KEY": ""}).api_key == "z"
    assert endpoint("ollama:qwen3.5:9b", {}).api_key == "none"
    assert endpoint("vllm", {"VLLM_API_KEY": "v"}).api_key == "v"


def test_whether_a_key_is_set() -> None:
    catalogue = Catalogue(built_in(), {"DASHSCOPE_API_KEY": "k", "DEEPSEEK_API_KEY": "", "VLLM_API_KEY": "v"})
    assert [catalogue.key_is_set(name) for name in ("qwen", "deepseek", "vllm", "ollama", "transformers")] == [
        True,
        False,
        True,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("choice", "model"),
    [
        ("openrouter:qwen/qwen3.8-flash", "qwen/qwen3.8-flash"),
        ("ollama:qwen3.5:9b", "qwen3.5:9b"),
        ("ollama:hf.co/org/model:Q4_K_M", "hf.co/org/model:Q4_K_M"),
        ("fireworks:accounts/fireworks/models/x#1", "accounts/fireworks/models/x#1"),
        (" Qwen : qwen-plus ", "qwen-plus"),
        ("qwen:", "qwen3.8-flash"),
        ("qwen@us:qwen-plus", "qwen-plus"),
        ("ollama:user@host/model", "user@host/model"),
    ],
)
def test_the_model_stands_behind_the_first_colon(choice: str, model: str) -> None:
    assert endpoint(choice).model == model


@pytest.mark.parametrize("region", ["intl", "us", "cn", "hk"])
def test_regions(region: str) -> None:
    url = built_in()["qwen"]["regions"][region]
    assert endpoint("qwen", qwen=region).base_url == url
    assert endpoint(f"qwen@{region}:qwen-plus").base_url == url
    assert endpoint(f"qwen@{region}", qwen="cn").base_url == url, "what a choice says goes before the setting"
    assert endpoint("deepseek", qwen=region).base_url == built_in()["deepseek"]["base_url"]


def test_a_region_is_part_of_a_name_only_where_it_was_written() -> None:
    assert endpoint("qwen@us").name == "qwen@us:qwen3.8-flash"
    assert endpoint("qwen@us").vendor == "qwen"
    assert endpoint("qwen", qwen="us").name == "qwen:qwen3.8-flash"


def test_a_workspace_has_a_host_of_its_own() -> None:
    url = "https://ws-1.eu-central-1.maas.aliyuncs.com/compatible-mode/v1"
    assert endpoint("qwen", qwen="ws-1.eu-central-1").base_url == url
    assert endpoint("qwen@ws-1.eu-central-1:qwen-plus").base_url == url
    for region in ("ws/1.us-east-1", "evil.example/.us-east-1", ".us-east-1", "ws.nowhere", "a@b.us-east-1"):
        assert "There is no region" in refused("qwen", KEYS, qwen=region).message


def test_an_unknown_region_is_refused() -> None:
    error = refused("qwen", KEYS, qwen="eu")
    assert error.message == "There is no region 'eu' for qwen."
    assert error.hint.startswith(
        "Choose one of intl, us, cn, hk, or WORKSPACE.REGION with a region of ap-southeast-1, "
    )
    assert refused("groq@eu:m", KEYS).hint == "groq has no regions: write groq:MODEL"


def test_what_is_free_at_home_may_cost_in_the_cloud() -> None:
    assert endpoint("ollama:x", {}).price.cost(Usage(1, 1)) == 0.0
    cloud = endpoint("ollama@cloud:x", {"OLLAMA_API_KEY": "k"})
    assert (cloud.local, cloud.api_key, cloud.price.cost(Usage(1, 1))) == (False, "k", None)


def test_embedders() -> None:
    catalogue = Catalogue(built_in(), KEYS)
    found, embeddings = catalogue.embeddings("qwen")
    assert (found.model, embeddings.batch, embeddings.query_prefix) == ("text-embedding-v4", 10, "")
    assert catalogue.embeddings("ollama:nomic-embed-text")[0].model == "nomic-embed-text"
    assert "does not say which model" in refused_embedder("deepseek", KEYS).message
    found, _ = Catalogue(built_in(), url_key="chat", embedder_key="embed").embeddings("http://host/v1#m")
    assert found.api_key == "embed"


def test_rerankers() -> None:
    catalogue = Catalogue(built_in(), KEYS, regions={"qwen": "us"})
    found, rerank = catalogue.reranking("qwen")
    assert found.model == "qwen3-rerank"
    assert rerank.path == "https://dashscope-us.aliyuncs.com/compatible-api/v1/reranks"
    assert (rerank.style, rerank.most_texts) == ("cohere", 500)
    found, rerank = catalogue.reranking("vllm:some-reranker")
    assert (found.base_url, rerank.path) == ("http://127.0.0.1:8000/v1", "/rerank")
    found, rerank = catalogue.reranking("http://host:1/v1/rerank#m")
    assert (found.base_url, rerank.path) == ("http://host:1/v1", "/rerank")


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("gpt", "There is no model preset 'gpt'.\nChoose one of anthropic, cerebras"),
        ("qwn", "Did you mean qwen?"),
        ("openruter:x", "Did you mean openrouter?"),
        ("quote", "Did you mean quotes?"),
        ("", "There is no model preset ''"),
        ("localhost:8000", "or give a server: http://HOST:PORT/v1#MODEL"),
        ("ollama", "'ollama' does not say which model.\nName it after a colon: ollama:MODEL"),
        ("transformers:", "Name it after a colon: transformers:MODEL"),
    ],
)
def test_what_is_not_understood_says_what_to_type(choice: str, says: str) -> None:
    assert says in str(refused(choice, KEYS))


def test_names_that_need_no_preset_are_known_to_the_hint() -> None:
    with pytest.raises(SettingsError, match="Did you mean acme"):
        Catalogue(built_in(), KEYS, others=("quotes", "acme-model")).endpoint("acme-modl")
    assert "Did you mean minilm?" in refused_embedder("minilmm").hint


def test_a_key_in_the_wrong_place_is_not_repeated() -> None:
    assert SECRET not in str(refused(SECRET))
    assert SECRET not in str(refused(f"http://user:{SECRET}@host:99999/v1#m"))
    assert SECRET not in str(refused(f"http://host/v1?key={SECRET}#m"))
    assert SECRET not in repr(endpoint("qwen", {"DASHSCOPE_API_KEY": SECRET}))
    assert SECRET not in repr(Catalogue(built_in(), {"DASHSCOPE_API_KEY": SECRET}, SECRET, SECRET))


# --- a team's own


def test_a_team_may_change_a_preset_and_bring_its_own() -> None:
    own: Presets = {
        "qwen": {"default": "qwen-plus", "models": {"qwen-plus": {"price": {"input": 1.0, "output": 2.0}}}},
        "acme": {"base_url": "https://llm.acme.example/v1", "keys": ["ACME_KEY"], "default": "acme-1"},
    }
    both = merged(built_in(), own)
    catalogue = Catalogue(both, {"DASHSCOPE_API_KEY": "k", "ACME_KEY": "a"})
    qwen = catalogue.endpoint("qwen")
    assert (qwen.model, qwen.price.cost(Usage(1_000_000, 0))) == ("qwen-plus", 1.0)
    assert (qwen.price.tiers, qwen.price.source) == ((), ""), "tiers of the old price are not about the new one"
    assert qwen.base_url == built_in()["qwen"]["base_url"]
    assert qwen.context == built_in()["qwen"]["models"]["qwen-plus"]["context"]
    acme = catalogue.endpoint("acme")
    assert (acme.model, acme.api_key, acme.dialect) == ("acme-1", "a", Dialect())
    assert "default" in built_in()["qwen"], "the table that ships is not changed"
    assert built_in()["qwen"]["default"] == "qwen3.8-flash"


def test_a_switch_of_a_teams_own_keeps_nothing_of_the_old_one() -> None:
    both = merged(built_in(), {"openrouter": {"body": {"provider": {"sort": "price"}}, "json": ["prompt"]}})
    dialect = Catalogue(both, KEYS).endpoint("openrouter").dialect
    assert dialect.body == {"provider": {"sort": "price"}}
    assert dialect.json == ("prompt",)
    assert "ACME_KEY" in key_names(merged(built_in(), {"acme": {"base_url": "http://a/v1", "keys": ["ACME_KEY"]}}))


@pytest.mark.parametrize(
    ("preset", "says"),
    [
        ({}, "base_url"),
        ({"base_url": "ftp://host"}, "base_url"),
        ({"base_url": "http://user:pass@host/v1"}, "base_url"),
        ({"base_url": "http://host/v1", "keys": ["sk-secret"]}, "keys"),
        ({"base_url": "http://host/v1", "colour": "red"}, "colour"),
        ({"base_url": "http://host/v1", "json": ["xml"]}, "json"),
        ({"base_url": "http://host/v1", "models": {"m": {"price": {"input": -1, "output": 1}}}}, "input"),
        ({"base_url": "http://host/v1", "models": {"m": {"price": {"input": "1", "output": 1}}}}, "input"),
    ],
)
def test_a_bad_preset_is_named(preset: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        checked({"acme": preset}, "frontdesk.toml")
    assert caught.value.message.startswith("frontdesk.toml: presets.acme")


# --- servers by their address


@pytest.mark.parametrize(
    ("choice", "base_url", "model"),
    [
        ("http://127.0.0.1:8000/v1#qwen", "http://127.0.0.1:8000/v1", "qwen"),
        ("https://host.example/v1/#Qwen/Qwen3.5-9B", "https://host.example/v1/", "Qwen/Qwen3.5-9B"),
        ("http://host#a#b:c/d", "http://host", "a#b:c/d"),
        ("http://[::1]:8000/v1#m", "http://[::1]:8000/v1", "m"),
        ("HTTP://Host:80/v1#m", "HTTP://Host:80/v1", "m"),
        (" http://host/v1#m ", "http://host/v1", "m"),
        ("http://host/v1/chat/completions#m", "http://host/v1", "m"),
        ("http://host/v1/embeddings/#m", "http://host/v1", "m"),
    ],
)
def test_a_server(choice: str, base_url: str, model: str) -> None:
    found = endpoint(choice)
    assert (found.name, found.base_url, found.model, found.api_key) == (choice.strip(), base_url, model, "none")
    assert endpoint(choice, url_key="k").api_key == "k"
    assert found.vendor == found.host
    assert found.price.cost(Usage(1, 1)) is None


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("http://#m", "is not a server's address.\nWrite it as http://HOST:PORT/v1#MODEL"),
        ("http:///v1#m", "is not a server's address"),
        ("http://:8000/v1#m", "is not a server's address"),
        ("http://host:port/v1#m", "is not a server's address"),
        ("http://host:99999/v1#m", "is not a server's address"),
        ("http://host:0/v1#m", "is not a server's address"),
        ("http://[::1/v1#m", "is not a server's address"),
        ("http://my host/v1#m", "is not a server's address"),
        ("http://host\n/v1#m", "is not a server's address"),
        ("http://host\\v1#m", "is not a server's address"),
        ("http://host/v1", "does not say which model.\nName it after a #: http://host/v1#MODEL"),
        ("http://host/v1# ", "does not say which model"),
        ("http://user:pass@host/v1#m", "put the key into FRONTDESK_MODEL_API_KEY."),
        ("https://token@host/v1#m", "neither a name and password"),
        ("http://host/v1?api-version=1#m", "nor a question mark"),
    ],
)
def test_a_bad_address_says_what_to_type(choice: str, says: str) -> None:
    assert says in str(refused(choice))


def test_a_password_for_an_embedder_has_its_own_place() -> None:
    assert "FRONTDESK_EMBEDDER_API_KEY" in refused_embedder("http://a:b@host/v1#m").hint


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("localhostile", False),
        ("[::1:2]", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("2130706433", False),
    ],
)
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert endpoint(f"http://{host}/v1#m", {}).local is local


@settings(deadline=None, max_examples=300)
@example("qwen:", "$first")
@given(
    st.sampled_from(["", "http://", "https://", "qwen:", "ollama:"]),
    st.text(st.characters(codec="utf-8") | st.sampled_from(":/#@?[]")),
)
def test_any_choice_is_understood_or_refused(start: str, rest: str) -> None:
    try:
        found = endpoint(start + rest)
    except SettingsError as error:
        found = None
        hint = error.hint
    assert (found.model and isinstance(found.local, bool)) if found else hint


# --- the docs


def test_the_table_for_the_docs_has_every_preset() -> None:
    for name in built_in():
        assert len(re.findall(rf"^\| `{name}` \|", as_markdown(), re.MULTILINE)) == 1
