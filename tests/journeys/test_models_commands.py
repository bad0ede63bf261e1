"""`frontdesk models`, `models check`, `compare` and `usage`, and models of one's own, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.test_command_line import Shell
from tests.servers.model_server import Call, ModelServer, Play, error, says, serving

QUESTION = "How long do I have to write a review after check-out?"
ANSWER = "You have 14 days after check-out to write a review. [1]"
PLUGIN = """
from agent.models.providers import Provider
from agent.testing import ScriptedModel

provider = Provider(backends={"parrot": lambda model, surroundings: ScriptedModel("%s", name=f"parrot:{model}")})
"""


@pytest.fixture(scope="module")
def larkstay(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(tmp_path_factory.mktemp("larkstay"))
    documents = Path(__file__).resolve().parents[2] / "examples" / "larkstay" / "documents"
    made.json("knowledge", "sync", str(documents))
    return made


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(plays=[says(ANSWER, usage=(1000, 50))])) as running:
        yield running


def own_preset(directory: Path, server: ModelServer, more: str = "") -> Path:
    settings = directory / "frontdesk.toml"
    settings.write_text(
        f"""model = "acme"

[presets.acme]
title = "Our gateway"
base_url = "{server.base_url}"
keys = ["ACME_API_KEY"]
default = "{server.model}"
temperature = false

[presets.acme.models."{server.model}".price]
input = 1.0
output = 10.0
{more}"""
    )
    return settings


def test_models_lists_every_preset_and_what_is_in_use(larkstay: Shell) -> None:
    listed = larkstay.json("models", DEEPSEEK_API_KEY="sk-test", FRONTDESK_MODEL="deepseek", FRONTDESK_OFFLINE="0")
    presets = {row["preset"]: row for row in listed["presets"]}
    assert len(presets) == 18
    assert (presets["deepseek"]["key_is_set"], presets["qwen"]["key_is_set"]) == (True, False)
    assert presets["ollama"]["key_is_set"] is None
    assert listed["in_use"]["answer"] == ["deepseek", "quotes"]
    assert listed["in_use"]["judge"] == []
    shown = larkstay("models")
    assert shown.returncode == 0
    assert "qwen3.8-flash" in shown.stdout
    assert "sk-test" not in shown.stdout


def test_a_preset_and_its_price_in_frontdesk_toml(larkstay: Shell, server: ModelServer, tmp_path: Path) -> None:
    settings = own_preset(tmp_path, server)
    server.key = "sk-acme-test"
    answer = larkstay.json("ask", QUESTION, "--config", str(settings), ACME_API_KEY="sk-acme-test")
    assert (answer["model"], answer["outcome"]) == (f"acme:{server.model}", "answered")
    assert answer["usage"]["cost_usd"] == pytest.approx(0.0015)
    assert "temperature" not in server.calls[0].body
    refused = larkstay("ask", QUESTION, "--config", str(settings))
    assert refused.returncode == 1
    assert "ACME_API_KEY" in refused.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[presets.acme.models.x]\nprise = 1", "presets.acme.models.x"),
        ('[presets.other]\ntitle = "no address"', "'base_url' is a required property"),
        ('[presets.other]\nbase_url = "ftp://x"', "presets.other.base_url"),
        ('[presets.other]\nbase_url = "http://127.0.0.1:99999/v1"', "presets.other holds the address"),
        ('[presets.other]\nbase_url = "http://user:pw@host/v1"', "presets.other.base_url"),
        ('[presets.other]\nbase_url = "http://h/v1"\nkeys = ["sk-SECRET-1"]', "it is a variable's name"),
        ('[presets.other]\nbase_url = "http://h/v1"\nbody = {stream = false}', "presets.other.body"),
        ('[presets.other]\nbase_url = "http://h/v1"\nmodels.m.price = {input = inf, output = 1}', "the number inf"),
        ('[presets.Other]\nbase_url = "http://h/v1"', "cannot be called 'Other'"),
        ('[channels."::"]\nmodel = "quotes"', "'::' is no channel"),
        ('[channels."slack"]\nembedder = "none"', "embedder cannot be set for a channel"),
        ('[channels."slack"]\nmodell = "x"', "Did you mean model"),
    ],
)
def test_a_bad_table_is_refused_in_words(
    larkstay: Shell, server: ModelServer, tmp_path: Path, more: str, words: str
) -> None:
    done = larkstay("models", "--config", str(own_preset(tmp_path, server, more)))
    assert done.returncode == 1
    assert words in done.stderr
    assert "frontdesk.toml" in done.stderr
    assert "sk-SECRET" not in done.stderr


def test_check_tells_what_works_with_a_model(larkstay: Shell, server: ModelServer) -> None:
    def by(call: Call) -> Play:
        return says('{"colour": "yellow"}') if "lemon" in call.said else says("ready")

    server.by_prompt = by
    done = larkstay("models", "check", FRONTDESK_MODEL=server.choice)
    assert done.returncode == 0
    assert "stream yes · JSON yes · tools no" in done.stdout
    assert "without calling the tool" in done.stdout
    found = larkstay.json("models", "check", "rewrite", FRONTDESK_MODEL=server.choice)["checks"]
    assert [one["model"] for one in found] == [server.choice]
    assert (found[0]["stream"], found[0]["json"], found[0]["tools"]) == (True, True, False)
    assert found[0]["cost_usd"] is None


def test_check_says_what_to_type_when_a_model_does_not_work(larkstay: Shell, server: ModelServer) -> None:
    server.key = "sk-right"
    done = larkstay("models", "check", FRONTDESK_MODEL=f"{server.choice},qwen")
    assert done.returncode == 1
    assert "set FRONTDESK_MODEL_API_KEY" in done.stdout
    assert "DASHSCOPE_API_KEY" in done.stdout


def test_usage_adds_up_every_attempt(larkstay: Shell, server: ModelServer, tmp_path: Path) -> None:
    shell = Shell(tmp_path / "data")
    documents = Path(__file__).resolve().parents[2] / "examples" / "larkstay" / "documents"
    shell.json("knowledge", "sync", str(documents))
    assert "No model was called" in shell("usage").stdout
    config = str(own_preset(tmp_path, server))
    server.plays = [error(500, "on fire"), says(ANSWER, usage=(1000, 50))]
    for _ in range(2):
        shell.json("ask", QUESTION, "--config", config, ACME_API_KEY="k")
    told = shell.json("usage")
    assert (told["total"]["calls"], told["total"]["failed"]) == (3, 1)
    assert told["total"]["prompt_tokens"] == 2000
    assert told["total"]["cost_usd"] == pytest.approx(0.003)
    assert "$0.003" in shell("usage").stdout
    assert shell("usage", "--by", "year").returncode == 2


def test_a_spent_budget_is_told_to_customer_and_staff(larkstay: Shell, server: ModelServer, tmp_path: Path) -> None:
    config = str(own_preset(tmp_path, server))
    done = larkstay("ask", QUESTION, "--config", config, ACME_API_KEY="k", FRONTDESK_BUDGET_DAY="0.0001")
    assert done.returncode == 0
    assert "limit" in done.stdout
    assert "budget of 0.0001 USD per day" in " ".join((done.stdout + done.stderr).split())
    assert server.calls == []
    unknown = larkstay("ask", QUESTION, FRONTDESK_MODEL=server.choice, FRONTDESK_BUDGET_DAY="1")
    assert unknown.returncode == 1
    assert "tokens" in unknown.stderr
    tokens = larkstay.json("ask", QUESTION, FRONTDESK_MODEL=server.choice, FRONTDESK_BUDGET_DAY="100_000 tokens")
    assert tokens["model"] == server.choice


def test_compare_shows_models_side_by_side(larkstay: Shell, server: ModelServer, tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps({"id": "q1", "text": QUESTION, "documents": ["accounts/reviews"]}) + "\n")
    page = tmp_path / "page.html"
    done = larkstay("compare", "--models", f"quotes,{server.choice}", str(cases), "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert "first citation as expected" in done.stdout
    assert ANSWER.removesuffix(" [1]") in page.read_text("utf-8")
    told = larkstay.json("compare", "--models", f"quotes,{server.choice}", str(cases))
    assert set(told["models"]) == {"quotes", server.choice}


def test_roles_and_chains_by_variable(larkstay: Shell, server: ModelServer) -> None:
    server.plays = [says('{"intent": "person", "standalone": ""}')]
    asked = larkstay.json("ask", QUESTION, FRONTDESK_MODEL="quotes", FRONTDESK_MODEL_TRIAGE=server.choice)
    assert (asked["outcome"], asked["reason"]) == ("handoff", "asked")
    server.plays = [says(ANSWER)]
    chain = larkstay.json("ask", QUESTION, FRONTDESK_MODEL_ANSWER=f"http://127.0.0.1:9/v1#x,{server.choice},quotes")
    assert (chain["outcome"], chain["model"]) == ("answered", server.choice)
    assert len(server.calls) == 2


def test_a_package_may_bring_a_model_of_its_own(larkstay: Shell, tmp_path: Path) -> None:
    (tmp_path / "parrot_plugin.py").write_text(PLUGIN % ANSWER)
    metadata = tmp_path / "parrot_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot-plugin\nVersion: 1.0\n")
    entry = metadata / "entry_points.txt"
    entry.write_text("[frontdesk.models]\nparrot = parrot_plugin:provider\n")
    place = {"PYTHONPATH": str(tmp_path), "FRONTDESK_MODEL": "parrot:grey"}
    larkstay = Shell(larkstay.data, anew=True)
    assert larkstay.json("ask", QUESTION, **place)["model"] == "parrot:grey"
    entry.write_text("[frontdesk.models]\nparrot = parrot_plugin:missing\n")
    done = larkstay("ask", QUESTION, **place)
    assert done.returncode == 1
    assert "of the package parrot-plugin) cannot be loaded" in done.stderr
