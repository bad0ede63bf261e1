"""What one provider's environment says never reaches another: seen on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from agent.models.base import Prompt, PromptMessage, complete
from agent.models.openai_compatible import OpenAICompatible
from agent.models.pool import Pool
from agent.models.presets import Catalogue, built_in
from tests.servers.model_server import ModelServer, says, serving

PROMPT = Prompt("answer", (PromptMessage("user", "Hello?"),))
FOREIGN = {
    "OPENAI_API_KEY": "sk-foreign-key",
    "OPENAI_ADMIN_KEY": "sk-foreign-admin",
    "OPENAI_ORG_ID": "org-foreign",
    "OPENAI_PROJECT_ID": "proj-foreign",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/foreign",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-foreign-header\nX-Foreign: foreign",
    "OPENAI_WEBHOOK_SECRET": "foreign-secret",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(plays=[says("Hello there")])) as running:
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("key", ["", "sk-own"])
async def test_nothing_of_the_environment_is_sent(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, host: str, key: str
) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
        if name.endswith("PROXY"):
            monkeypatch.setenv(name.lower(), value)
    choice = server.choice.replace("127.0.0.1", host)
    backend = OpenAICompatible(Catalogue(built_in(), url_key=key).endpoint(choice))
    assert (await complete(backend, PROMPT)).text == "Hello there"
    await backend.close()
    sent = json.dumps([server.calls[0].headers, server.calls[0].body])
    assert "foreign" not in sent
    assert server.calls[0].headers["authorization"] == f"Bearer {key or 'none'}"


async def test_clients_share_connections_and_only_the_pool_closes_them(server: ModelServer) -> None:
    pool = Pool()
    catalogue = Catalogue(built_in())
    one = OpenAICompatible(catalogue.endpoint(server.choice), pool=pool)
    other = OpenAICompatible(catalogue.endpoint(server.choice), pool=pool)
    await complete(one, PROMPT)
    await one.close()
    assert (await complete(other, PROMPT)).text == "Hello there"
    await pool.close()
