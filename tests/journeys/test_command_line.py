"""Whole journeys in processes of their own, as a person or a program types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys import forked
from tests.servers.model_server import Call, ModelServer, Play, error, hang, says, serving, stream

FRONTDESK = Path(sys.executable).with_name("frontdesk")


class Shell:
    """Runs `frontdesk` with a data directory and settings of its own. `anew`: with its imports, which take long."""

    def __init__(self, data: Path, *, anew: bool = False) -> None:
        self.data = data
        self.anew = anew
        self.environment = {**os.environ, "FRONTDESK_DATA": str(data)}

    def __call__(self, *arguments: str, typed: str | bytes = "", **settings: str) -> subprocess.CompletedProcess[str]:
        environment, given = {**self.environment, **settings}, typed.encode() if isinstance(typed, str) else typed
        if self.anew:
            done = subprocess.run(
                [FRONTDESK, *arguments], input=given, capture_output=True, env=environment, timeout=100
            )
        else:
            done = forked.run(arguments, environment, given)
        out, errors = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
        assert "Traceback" not in out + errors
        return subprocess.CompletedProcess(done.args, done.returncode, out, errors)

    def json(self, *arguments: str, **settings: str) -> Any:
        done = self(*arguments, "--json", **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "data")


@pytest.fixture(scope="module")
def larkstay(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A knowledge base with the sample documents, synced once."""
    made = Shell(tmp_path_factory.mktemp("larkstay"))
    documents = Path(__file__).resolve().parents[2] / "examples" / "larkstay" / "documents"
    report = made.json("knowledge", "sync", str(documents))
    assert (report["added"], report["failed"]) == (29, [])
    return made


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer(plays=[says("You have 14 days to write a review. [1]", usage=(900, 14))])) as running:
        yield running


QUESTION = "How long do I have to write a review after check-out?"


def test_the_demo_needs_nothing(shell: Shell) -> None:
    done = shell("demo")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "no model is used" in done.stdout
    assert "FRONTDESK_MODEL=qwen" in done.stdout
    first, follow_up = done.stdout.split("\nYou: ")[1:3]
    assert "articles/guest-cancellation" in first
    assert "articles/refund-times" in first
    assert "Strict booking" in follow_up
    assert "Firm" not in follow_up
    assert done.stdout.count("hand-off to a person") == 2
    assert "Türcode" not in done.stdout, "the question in another language needs a model"


def test_the_demo_with_a_model(shell: Shell, server: ModelServer) -> None:
    def answer(call: Call) -> Play:
        rewriting = "Rewrite the customer's last message" in call.said
        question = call.body["messages"][-1]["content"]
        if rewriting:
            return says(
                "When do I get the door code?" if "Türcode" in question else "When does a PayPal refund arrive?"
            )
        return says("[[unsure]]" if "gift" in question else "Here is what the article says. [1]")

    server.by_prompt = answer
    done = shell("demo", FRONTDESK_MODEL=server.choice)
    assert done.returncode == 0, done.stderr
    assert f"written by {server.choice}" in done.stdout
    assert "Türcode" in done.stdout
    assert done.stdout.count("Here is what the article says. [1]") == 3
    assert done.stdout.count("hand-off to a person") == 2


def test_ask_prints_one_object(larkstay: Shell) -> None:
    answer = Shell(larkstay.data, anew=True).json("ask", QUESTION)
    assert list(answer) == ["outcome", "reason", "answer", "citations", "model", "usage", "seconds"]
    assert (answer["outcome"], answer["reason"], answer["model"]) == ("answered", None, "quotes")
    assert "14 days" in answer["answer"]
    citation = answer["citations"][0]
    assert list(citation) == ["n", "document", "title", "url", "passage"]
    assert (citation["n"], citation["document"]) == (1, "accounts/reviews")
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}


def test_ask_with_a_model(larkstay: Shell, server: ModelServer) -> None:
    answer = larkstay.json("ask", QUESTION, FRONTDESK_MODEL=server.choice)
    assert answer["answer"] == "You have 14 days to write a review. [1]"
    assert answer["model"] == server.choice
    assert answer["usage"] == {"prompt_tokens": 900, "completion_tokens": 14, "cost_usd": None}
    assert len(server.calls) == 1


def test_ask_for_a_person(larkstay: Shell) -> None:
    answer = larkstay.json("ask", "Let me talk to a person, please.")
    assert (answer["outcome"], answer["reason"], answer["citations"]) == ("handoff", "asked", [])


def test_ask_what_no_document_answers(larkstay: Shell) -> None:
    answer = larkstay.json("ask", "What is the capital of Peru?")
    assert (answer["outcome"], answer["reason"]) == ("handoff", "unsure")


def test_ask_reads_standard_input(larkstay: Shell) -> None:
    done = larkstay("ask", "-", "--json", typed=QUESTION)
    assert json.loads(done.stdout)["outcome"] == "answered"


@pytest.mark.parametrize(
    "typed", [b"", b"   \n", b"\x00\x01\x02", b"\xff\xfe\xfd" * 200, "🙂".encode(), b"a" * 40_000, b"why? " * 8_000]
)
def test_ask_survives_any_input(larkstay: Shell, typed: bytes) -> None:
    done = larkstay("ask", "-", "--json", typed=typed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]


def test_ask_with_bytes_that_are_no_text_as_argument(larkstay: Shell) -> None:
    done = subprocess.run(
        [os.fsencode(FRONTDESK), b"ask", b"how do \xff\xfe I cancel?", b"--json"],
        capture_output=True,
        env=larkstay.environment,
        check=True,
    )
    assert json.loads(done.stdout)["answer"]


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (error(500, "The engine is on fire"), "on fire"),
        (error(429, "Slow down", **{"Retry-After": "600"}), "Slow down"),
        (stream([], finish=None), "broke off"),
        (hang(), "too slow"),
    ],
    ids=["500", "429", "empty", "hang"],
)
def test_a_failing_model_ends_in_quotes_and_a_note(
    larkstay: Shell, server: ModelServer, play: Play, words: str
) -> None:
    server.plays = [play]
    done = larkstay("ask", QUESTION, "--json", FRONTDESK_MODEL=server.choice, FRONTDESK_FIRST_TOKEN_SECONDS="0.5")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["outcome"], answer["model"]) == (0, "answered", "quotes")
    assert words in done.stderr


def test_a_wrong_key_is_told_without_the_key(larkstay: Shell, server: ModelServer) -> None:
    server.key = "right"
    settings = {"FRONTDESK_MODEL": server.choice, "FRONTDESK_MODEL_API_KEY": "sk-very-wrong-key"}
    done = larkstay("ask", QUESTION, "--json", **settings)
    assert "does not accept the key" in done.stderr
    assert "sk-very-wrong-key" not in done.stderr + done.stdout
    doctor = larkstay("doctor", **settings)
    assert doctor.returncode == 1
    assert "does not accept the key" in doctor.stdout
    assert "sk-very-wrong-key" not in doctor.stdout


def test_a_dead_host_is_told(larkstay: Shell) -> None:
    done = larkstay("ask", QUESTION, "--json", FRONTDESK_MODEL="http://127.0.0.1:9/v1#m")
    assert json.loads(done.stdout)["model"] == "quotes"
    assert "cannot be reached" in done.stderr


def test_a_model_that_breaks_off_after_its_first_word_is_a_handoff(larkstay: Shell, server: ModelServer) -> None:
    server.plays = [stream(["You have 14"], finish=None)]
    answer = larkstay.json("ask", QUESTION, FRONTDESK_MODEL=server.choice)
    assert (answer["outcome"], answer["reason"]) == ("handoff", "failed")
    assert "14" not in answer["answer"]


def test_a_missing_key_names_its_variable(larkstay: Shell) -> None:
    done = larkstay("ask", QUESTION, FRONTDESK_MODEL="qwen")
    assert done.returncode == 1
    assert "DASHSCOPE_API_KEY" in done.stderr


def test_offline_forbids_a_model_elsewhere(larkstay: Shell) -> None:
    done = larkstay("ask", QUESTION, FRONTDESK_MODEL="deepseek", DEEPSEEK_API_KEY="sk-x")
    assert done.returncode == 1
    assert "offline" in done.stderr


def test_an_empty_knowledge_base_says_what_to_type(shell: Shell) -> None:
    done = shell("ask", QUESTION)
    assert done.returncode == 1
    assert "frontdesk knowledge sync DIR" in done.stderr


def test_search_prints_one_object(larkstay: Shell) -> None:
    found = larkstay.json("search", "PayPal refund", "--limit", "3")
    assert list(found) == ["query", "mode", "hits"]
    assert (found["query"], found["mode"], len(found["hits"])) == ("PayPal refund", "keyword", 3)
    assert list(found["hits"][0]) == ["document", "title", "heading", "score", "text"]
    assert found["hits"][0]["document"] == "refund-times"
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_search_shows_internal_documents_only_on_request(larkstay: Shell) -> None:
    query = "goodwill credit limits for agents"
    public = larkstay.json("search", query, "--limit", "50")
    assert "internal-goodwill-credit" not in {hit["document"] for hit in public["hits"]}
    inside = larkstay.json("search", query, "--audience", "internal")
    assert inside["hits"][0]["document"] == "internal-goodwill-credit"


def test_search_in_a_batch(larkstay: Shell, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"id": "a", "text": "PayPal refund"}\n\n{"id": 2, "text": "door code"}\n')
    done = larkstay("search", "--batch", str(queries), "--limit", "4")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["a", 2]
    assert [line["documents"][0] for line in lines] == ["refund-times", "lark-key"]
    assert all(len(set(line["documents"])) == 4 for line in lines)


def test_a_broken_batch_names_the_line(larkstay: Shell, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"id": "a", "text": "refund"}\nnot json\n')
    done = larkstay("search", "--batch", str(queries))
    assert done.returncode == 1
    assert "line 2" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["search"], ["search", "x", "--limit", "0"], ["ask"], ["nonsense"], ["search", "x", "--batch", "y"]]
)
def test_wrong_usage_is_told_with_status_2(larkstay: Shell, arguments: list[str]) -> None:
    done = larkstay(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_sync_twice_then_change_and_remove(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.md").write_text("# A\n\nApples are red.\n")
    (folder / "b.md").write_text("# B\n\nBananas are yellow.\n")
    (folder / "junk.md").write_bytes(b"\x00\xff" * 100)
    first = shell.json("knowledge", "sync", str(folder))
    assert list(first) == ["added", "changed", "removed", "unchanged", "failed", "seconds"]
    assert [failure["file"] for failure in first["failed"]] == ["junk.md"]
    again = shell.json("knowledge", "sync", str(folder))
    assert (again["added"], again["changed"], again["removed"], again["unchanged"]) == (0, 0, 0, 2)
    (folder / "a.md").write_text("# A\n\nApples are green.\n")
    (folder / "b.md").unlink()
    third = shell.json("knowledge", "sync", str(folder))
    assert (third["added"], third["changed"], third["removed"], third["unchanged"]) == (0, 1, 1, 0)
    texts = [hit["text"] for hit in shell.json("search", "apples bananas")["hits"]]
    assert texts == ["Apples are green."]


@pytest.mark.parametrize("make", ["missing", "empty", "file"])
def test_a_wrong_folder_is_one_clear_sentence(shell: Shell, tmp_path: Path, make: str) -> None:
    folder = tmp_path / "documents"
    if make == "empty":
        folder.mkdir()
    elif make == "file":
        folder.write_text("x")
    done = shell("knowledge", "sync", str(folder), "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert str(folder) in done.stderr


def test_list_and_show(larkstay: Shell) -> None:
    documents = larkstay.json("knowledge", "list")["documents"]
    assert len(documents) == 29
    lines = larkstay("knowledge", "list").stdout.splitlines()
    assert len(lines) == 29
    assert any(line.startswith("refund-times\t") for line in lines)
    shown = larkstay("knowledge", "show", "refund-times")
    assert "PayPal" in shown.stdout
    assert larkstay.json("knowledge", "show", "refund-times")["passages"]
    missing = larkstay("knowledge", "show", "nothing")
    assert missing.returncode == 1
    assert "frontdesk knowledge list" in missing.stderr


def test_chat_with_piped_input(larkstay: Shell) -> None:
    done = Shell(larkstay.data, anew=True)("chat", typed=f"{QUESTION}\n\nlet me talk to a human\nexit\nnever read\n")
    assert done.returncode == 0, done.stderr
    assert "14 days" in done.stdout
    assert "hand-off to a person" in done.stdout


def test_data_may_stand_before_or_behind(larkstay: Shell, tmp_path: Path) -> None:
    elsewhere = {"FRONTDESK_DATA": str(tmp_path / "other")}
    before = larkstay("--data", str(larkstay.data), "knowledge", "list", **elsewhere)
    behind = larkstay("knowledge", "list", "--data", str(larkstay.data), **elsewhere)
    assert before.stdout == behind.stdout
    assert len(before.stdout.splitlines()) == 29


def test_init_then_sync_then_ask(shell: Shell, tmp_path: Path) -> None:
    made = shell("init", str(tmp_path / "support"))
    assert made.returncode == 0, made.stderr
    assert {path.name for path in (tmp_path / "support").iterdir()} == {"frontdesk.toml", ".env.example", "documents"}
    again = shell("init", str(tmp_path / "support"))
    assert "already there" in again.stdout
    assert shell.json("knowledge", "sync", str(tmp_path / "support" / "documents"))["added"] == 1
    assert shell.json("ask", "What makes a good document?")["outcome"] == "answered"


def test_a_broken_settings_file_names_file_line_and_setting(shell: Shell, tmp_path: Path) -> None:
    settings = tmp_path / "frontdesk.toml"
    settings.write_text('company = "Larkstay"\nmodle = "qwen"\n')
    done = shell("--config", str(settings), "knowledge", "list")
    assert done.returncode == 1
    assert f"{settings}, line 2" in done.stderr
    assert "Did you mean model?" in done.stderr


def test_doctor_says_what_to_type(shell: Shell, larkstay: Shell) -> None:
    empty = shell("doctor", FRONTDESK_EMBEDDER="none")
    assert empty.returncode == 1
    assert "frontdesk knowledge sync DIR" in empty.stdout
    well = larkstay("doctor", FRONTDESK_EMBEDDER="none")
    assert (well.returncode, "FAIL" in well.stdout) == (0, False), well.stdout
    report = json.loads(larkstay("doctor", "--json", FRONTDESK_EMBEDDER="none").stdout)
    assert report["ok"] is True


def test_doctor_tries_the_model(larkstay: Shell, server: ModelServer) -> None:
    done = larkstay("doctor", FRONTDESK_EMBEDDER="none", FRONTDESK_MODEL=server.choice)
    assert done.returncode == 0, done.stdout
    assert "answers (914 tokens)" in done.stdout


def test_a_remote_embedder(shell: Shell, tmp_path: Path, server: ModelServer) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for n in range(25):
        (folder / f"d{n}.md").write_text(f"# Document {n}\n\nThis is about subject {n}.\n")
    settings = {"FRONTDESK_EMBEDDER": server.choice}
    assert shell.json("knowledge", "sync", str(folder), **settings)["added"] == 25
    assert shell.json("search", "subject 7", **settings)["mode"] == "hybrid"
    assert shell.json("search", "subject 7", FRONTDESK_EMBEDDER="none")["mode"] == "keyword"


def test_help_and_version(shell: Shell) -> None:
    shell.anew = True
    assert "frontdesk demo" in shell("--help").stdout
    assert shell("--version").stdout.startswith("frontdesk, version")
