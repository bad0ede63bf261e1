"""Which model a setting means, on which server, with which key, at what price."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SettingsError
from agent.models.presets import Endpoint, as_markdown, endpoint, key_names, presets

KEYS = {name: f"key-of-{name}" for name in key_names()}
SECRET = "sk-abcdefghijklmnopqrstuvwxyz123456"


def refused(choice: str, keys: dict[str, str] | None = None, **options: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        endpoint(choice, keys or {}, **options)
    return caught.value


# --- presets


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_makes_an_endpoint(name: str) -> None:
    preset = presets()[name]
    found = endpoint(f"{name}:some/model:9b", KEYS)
    assert (found.name, found.model) == (f"{name}:some/model:9b", "some/model:9b")
    assert found.base_url.startswith("http")
    assert found.base_url == preset["base_url"]
    assert found.api_key == KEYS[preset["keys"][0]]
    assert preset.get("thinking_off", {}).items() <= found.body.items()
    assert found.local == (name == "ollama")
    assert found.cost(1_000, 1_000) == (0.0 if preset.get("free") else None)
    json.dumps(dict(found.body))


@pytest.mark.parametrize("name", sorted(set(presets()) - {"ollama"}))
def test_every_preset_has_a_default_model_with_a_price(name: str) -> None:
    found = endpoint(name, KEYS)
    assert found.name == f"{name}:{found.model}"
    cost = found.cost(1_000_000, 0)
    assert cost is not None
    assert cost > 0


def test_qwen_thinks_only_when_it_is_told_to() -> None:
    assert endpoint("qwen", KEYS).body == {"enable_thinking": False}


@pytest.mark.parametrize("name", sorted(set(presets()) - {"ollama"}))
def test_a_missing_key_is_named(name: str) -> None:
    variable = presets()[name]["keys"][0]
    error = refused(name)
    assert error.message == f"{name} needs a key, and {variable} is not set."
    assert f"{variable}=..." in error.hint
    assert "FRONTDESK_MODEL=quotes" in error.hint
    assert "FRONTDESK_EMBEDDER=minilm" in refused(f"{name}:x", purpose="embed").hint


def test_any_of_a_providers_keys_will_do_and_some_need_none() -> None:
    assert endpoint("zai", {"ZHIPU_API_KEY": "z", "ZAI_API_KEY": ""}).api_key == "z"
    assert endpoint("ollama:qwen3.5:9b", {}).api_key == "none"


@pytest.mark.parametrize(
    ("choice", "model"),
    [
        ("openrouter:qwen/qwen3.8-flash", "qwen/qwen3.8-flash"),
        ("ollama:qwen3.5:9b", "qwen3.5:9b"),
        ("ollama:hf.co/org/model:Q4_K_M", "hf.co/org/model:Q4_K_M"),
        ("fireworks:accounts/fireworks/models/x#1", "accounts/fireworks/models/x#1"),
        (" Qwen : qwen-plus ", "qwen-plus"),
        ("qwen:", "qwen3.8-flash"),
    ],
)
def test_the_model_stands_behind_the_first_colon(choice: str, model: str) -> None:
    assert endpoint(choice, KEYS).model == model


@pytest.mark.parametrize("region", ["intl", "us", "cn", "hk"])
def test_regions(region: str) -> None:
    assert endpoint("qwen", KEYS, region=region).base_url == presets()["qwen"]["regions"][region]
    assert endpoint("deepseek", KEYS, region=region).base_url == presets()["deepseek"]["base_url"]


def test_an_unknown_region_is_refused() -> None:
    assert (
        str(refused("qwen", KEYS, region="eu")) == "There is no region 'eu' for qwen.\nChoose one of intl, us, cn, hk."
    )


def test_embedders() -> None:
    found = endpoint("qwen", KEYS, purpose="embed")
    assert (found.model, found.embed_batch, found.body) == ("text-embedding-v4", 10, {})
    assert endpoint("ollama:nomic-embed-text", KEYS, purpose="embed").model == "nomic-embed-text"
    assert "does not say which model" in refused("deepseek", KEYS, purpose="embed").message


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("gpt", "There is no model preset 'gpt'.\nChoose one of cerebras"),
        ("qwn", "Did you mean qwen?"),
        ("openruter:x", "Did you mean openrouter?"),
        ("quote", "Did you mean quotes?"),
        ("", "There is no model preset ''"),
        ("localhost:8000", "or give a server: http://HOST:PORT/v1#MODEL"),
        ("ollama", "'ollama' does not say which model.\nName it after a colon: ollama:MODEL"),
    ],
)
def test_what_is_not_understood_says_what_to_type(choice: str, says: str) -> None:
    assert says in str(refused(choice, KEYS))


def test_a_key_in_the_wrong_place_is_not_repeated() -> None:
    assert SECRET not in str(refused(SECRET))
    assert SECRET not in str(refused(f"http://user:{SECRET}@host:99999/v1#m"))
    assert SECRET not in str(refused(f"http://host/v1?key={SECRET}#m"))
    assert SECRET not in repr(endpoint("qwen", {"DASHSCOPE_API_KEY": SECRET}))


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
    found = endpoint(choice, KEYS)
    assert (found.name, found.base_url, found.model, found.api_key) == (choice.strip(), base_url, model, "none")
    assert endpoint(choice, KEYS, url_key="k").api_key == "k"
    assert found.cost(1, 1) is None


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
    assert "FRONTDESK_EMBEDDER_API_KEY" in refused("http://a:b@host/v1#m", purpose="embed").hint


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
@given(
    st.sampled_from(["", "http://", "https://", "qwen:", "ollama:"]),
    st.text(st.characters(codec="utf-8") | st.sampled_from(":/#@?[]")),
)
def test_any_choice_is_understood_or_refused(start: str, rest: str) -> None:
    try:
        found = endpoint(start + rest, KEYS)
    except SettingsError as error:
        found = None
        hint = error.hint
    assert (found.model and isinstance(found.local, bool)) if found else hint


# --- prices


def test_cost_by_tier_and_with_cached_tokens() -> None:
    flash = endpoint("qwen", KEYS)
    assert flash.cost(1_000_000, 1_000_000) == pytest.approx(0.15 + 0.47)
    assert flash.cost(1_000_000, 0, cached=1_000_000) == pytest.approx(0.016)
    assert flash.cost(1_000, 0, cached=5_000) == pytest.approx(5_000 * 0.016 / 1e6)
    plus = endpoint("qwen:qwen3.7-plus", KEYS)
    assert plus.cost(256_000, 0) == pytest.approx(256_000 * 0.40 / 1e6)
    assert plus.cost(256_001, 1_000) == pytest.approx((256_001 * 1.2 + 1_000 * 4.8) / 1e6)
    assert flash.cost(0, 0) == 0.0


def test_cached_tokens_without_a_price_of_their_own_cost_what_others_cost() -> None:
    assert endpoint("qwen:qwen-plus", KEYS).cost(1_000, 0, cached=500) == pytest.approx(1_000 * 0.40 / 1e6)


def test_an_unknown_price_is_unknown_and_what_is_free_costs_nothing() -> None:
    assert Endpoint("n", "http://h", "m", "k", prices=(1.0, None, None)).cost(5, 0) is None
    assert endpoint("ollama:x", {}).cost(5, 5, 5) == 0.0
    assert endpoint("zai:glm-4.7-flash", KEYS).cost(5, 5) == 0.0


def test_the_table_for_the_docs_has_every_preset() -> None:
    for name in presets():
        assert len(re.findall(rf"^\| `{name}` \|", as_markdown(), re.MULTILINE)) == 1
