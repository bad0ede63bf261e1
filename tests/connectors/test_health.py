"""What those who watch over frontdesk are told: the server, the event loop's watch, the metrics, and the log without keys."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from agent.errors import SettingsError
from agent.messages import Provenance, Usage
from agent.metrics import Metrics
from connectors.health import CHECK_SECONDS, Health, host_and_port
from connectors.logs import redacted, set_up


async def counts() -> Mapping[str, float]:
    return {"turns_waiting": 3, "open_tickets": 2}


@pytest.fixture
async def health() -> AsyncIterator[Health]:
    made = Health("127.0.0.1:0", Metrics(), counts)
    await made.start()
    yield made
    await made.close()


async def got(health: Health, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(health.url + path) as answer:
        return answer.status, await answer.text()


async def test_it_is_ready_when_every_part_is(health: Health) -> None:
    reason = ""

    async def database() -> str:
        return reason

    health.checks["database"] = database
    assert await got(health, "/healthz") == (200, '{"ok": true}')
    status, body = await got(health, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "parts": {"event loop": "ok", "database": "ok"}})
    reason = "The database is away."
    status, body = await got(health, "/readyz")
    assert status == 503
    assert json.loads(body) == {"ready": False, "parts": {"event loop": "ok", "database": "The database is away."}}
    assert (await got(health, "/healthz"))[0] == 200
    assert (await got(health, "/"))[0] == 404


async def test_a_part_that_does_not_answer_is_not_ready(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.health.CHECK_SECONDS", 0.1)

    async def never() -> str:
        await asyncio.sleep(60)
        return ""

    health.checks["slack"] = never
    status, body = await got(health, "/readyz")
    assert (status, json.loads(body)["parts"]["slack"]) == (503, "no answer in 0 s")
    assert CHECK_SECONDS > 1


async def test_a_stall_is_logged_with_its_length_and_ends_readiness(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.sleep(0.05)
    time.sleep(1.4)  # noqa: ASYNC251 (that is the point)
    await asyncio.sleep(0.4)
    status, body = await got(health, "/readyz")
    assert status == 503
    assert json.loads(body)["parts"]["event loop"].startswith("was held up for 1.")
    (record,) = [one for one in caplog.records if one.name == "connectors.health"]
    assert record.getMessage().startswith("The event loop was held up for 1.")
    lag = [line for line in (await got(health, "/metrics"))[1].splitlines() if line.startswith("frontdesk_loop_lag")]
    assert 1.0 < float(lag[0].split()[1]) < 3
    health.begin_anew()
    assert (await got(health, "/readyz"))[0] == 200


async def test_an_address_in_use_is_told_with_what_to_type(health: Health) -> None:
    taken = health.url.removeprefix("http://")
    second = Health(taken, Metrics(), counts)
    with pytest.raises(SettingsError, match=f"health_address: {taken} cannot be listened on") as caught:
        await second.start()
    assert "FRONTDESK_HEALTH_ADDRESS=off" in caught.value.hint
    await second.close()


async def test_off_listens_nowhere() -> None:
    health = Health("off", Metrics(), counts)
    await health.start()
    assert health.url == ""
    await health.close()


def test_addresses() -> None:
    assert host_and_port("0.0.0.0:3000") == ("0.0.0.0", 3000)
    assert host_and_port("[::1]:0") == ("::1", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6() -> None:
    health = Health("[::1]:0", Metrics(), counts)
    try:
        await health.start()
    except SettingsError:
        pytest.skip("no IPv6 here")
    assert health.url.startswith("http://[::1]:")
    await health.close()


# --- metrics


async def test_metrics_count_and_name_nobody(health: Health) -> None:
    metrics = health._metrics
    metrics.message("slack")
    metrics.first_text(0.4)
    usage = Usage(1000, 50, 0.002, cached_tokens=800)
    metrics.turn("answered", 2.5, Provenance("qwen", usage=usage))
    metrics.turn("handed_off", -1, Provenance())
    metrics.delivery_failed("slack")
    status, text = await got(health, "/metrics")
    assert status == 200
    for line in (
        'frontdesk_messages_total{connector="slack"} 1.0',
        'frontdesk_turns_total{outcome="answered"} 1.0',
        'frontdesk_turns_total{outcome="handed_off"} 1.0',
        'frontdesk_delivery_failures_total{connector="slack"} 1.0',
        'frontdesk_model_tokens_total{kind="prompt",model="qwen"} 1000.0',
        'frontdesk_model_tokens_total{kind="cached",model="qwen"} 800.0',
        'frontdesk_model_tokens_total{kind="completion",model="qwen"} 50.0',
        'frontdesk_model_cost_usd_total{model="qwen"} 0.002',
        "frontdesk_first_text_seconds_count 1.0",
        "frontdesk_turn_seconds_sum 2.5",
        "frontdesk_turns_waiting 3.0",
        "frontdesk_open_tickets 2.0",
        "frontdesk_turns_failed 0.0",
    ):
        assert line in text.splitlines()


def test_each_has_a_registry_of_its_own() -> None:
    first, second = Metrics(), Metrics()
    first.message("slack")
    assert b'connector="slack"' not in second.text()


# --- the log


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token xoxb-12-ab-cdef", "token xoxb-***"),
        ("(xapp-1-A00-12-ffff)", "(xapp-***)"),
        ("xoxe.xoxp-1-Mi0yLT", "xoxe.xoxp-***"),
        ("Authorization: Bearer abcdefghij", "Authorization: Bearer ***"),
        ("key sk-proj-abcdefgh12345678.", "key sk-***."),
        ("postgresql://desk:pa:ss@db:5432/x", "postgresql://desk:***@db:5432/x"),
        ("postgresql://desk:p@ss@db/x", "postgresql://desk:***@db/x"),
        ("http://127.0.0.1:8080/healthz", "http://127.0.0.1:8080/healthz"),
        ("a password of my own", "a *** of my own"),
    ],
)
def test_keys_are_starred(text: str, shown: str) -> None:
    assert redacted(text, ["password"]) == shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_shows_no_key_in_messages_nor_in_errors(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        set_up(form, ["hunter2-hunter2", "short"])
        try:
            raise ValueError("xoxb-1234-5678 and hunter2-hunter2")
        except ValueError:
            logging.getLogger("agent.turns").exception("no %s, short", "hunter2-hunter2")
        logging.getLogger("agent.turns").info("ours")
        logging.getLogger("someone.else").info("theirs")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        for name in (
            "agent",
            "connectors",
            "knowledge",
            "slack_bolt",
            "slack_sdk",
            "aiohttp",
            "dbos",
            "httpx",
            "chromadb",
        ):
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger("connectors.slack.bolt").setLevel(logging.NOTSET)
    errors = capsys.readouterr().err
    assert "hunter2" not in errors
    assert "1234" not in errors
    assert "no ***, short" in errors, "what is too short to be a secret stays"
    assert "ours" in errors
    assert "theirs" not in errors
    if form == "json":
        first, second = map(json.loads, errors.splitlines())
        assert (first["level"], first["logger"], second["message"]) == ("error", "agent.turns", "ours")
        assert "ValueError: xoxb-*** and ***" in first["error"]
        assert first["time"].endswith("Z")
