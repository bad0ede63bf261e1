"""Whole journeys in Slack: real processes, the local Slack, and what customers and staff see in it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.journeys.running import FRONTDESK, environment, running, tokens
from tests.servers.model_server import Call, ModelServer, Play, says
from tests.servers.slack import Seen, SlackServer, serving

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "larkstay" / "documents"
QUESTION = "How long do I have to write a review after check-out?"
ANSWER = "You have 14 days after check-out to write a review. [1]"


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("synced")
    subprocess.run(
        [FRONTDESK, "knowledge", "sync", str(SAMPLE)], env=environment(data), check=True, capture_output=True
    )
    return data


@pytest.fixture
def data(synced: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synced, tmp_path / "data"))


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
    assert server.violations == []


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """It takes three seconds for an answer, so that something can happen meanwhile."""

    def played(call: Call) -> Play:
        return says(ANSWER, pause=0.35)

    with serving(ModelServer(by_prompt=played)) as server:
        yield server


def answered(slack: SlackServer, room: str, ts: str, words: str = "14 days") -> bool:
    found = slack.replies_to(room, ts)
    return any(words in seen.text and seen.streaming != "streaming" for seen in found)


def finished(
    slack: SlackServer, room: str, ts: str, words: str = "Talk to a person", seconds: float = 40
) -> list[Seen]:
    slack.wait_for(lambda: answered(slack, room, ts, words), seconds)
    return slack.replies_to(room, ts)


def test_a_question_gets_one_answer_with_its_source(data: Path, slack: SlackServer, model: ModelServer) -> None:
    ann, bob = slack.add_user("ann"), slack.add_user("bob")
    room = slack.add_channel("help", [ann, bob])
    with running(**environment(data, FRONTDESK_MODEL=model.choice, **tokens(slack))) as desk:
        desk.said("Slack: connected")
        chatter = slack.say(bob, room, "Lunch at noon?")
        ts = slack.say(ann, room, slack.mention(QUESTION))
        (reply,) = finished(slack, room, ts)
        assert reply.text.startswith("You have 14 days")
        assert "Reviews: writing, reading and removing them" in reply.text
        assert len(slack.changes(room, reply.ts)) >= 2, "it was seen being written"
        assert slack.replies_to(room, chatter) == [], "nobody asked the agent"
        direct = slack.say(bob, slack.dm(bob), "Are cats allowed in all homes?")
        slack.wait_for(lambda: slack.replies_to(slack.dm(bob), direct) or len(slack.visible(slack.dm(bob))) > 1, 40)
        assert desk.stop() == 0


def test_a_channel_may_hear_every_question(data: Path, slack: SlackServer, tmp_path: Path) -> None:
    ann = slack.add_user("ann")
    room, other = slack.add_channel("help", [ann]), slack.add_channel("random", [ann])
    config = tmp_path / "frontdesk.toml"
    config.write_text(f'[channels."slack:{slack.team.id}/{room}"]\nmode = "only-when-sure"\n')
    with running("--config", str(config), "run", **environment(data, **tokens(slack))) as desk:
        desk.said("Slack: connected")
        unheard = slack.say(ann, other, QUESTION)
        unsure = slack.say(ann, room, "What is the capital of Peru?")
        ts = slack.say(ann, room, QUESTION)
        assert len(finished(slack, room, ts, "14 days")) == 1
        assert slack.replies_to(other, unheard) == []
        assert slack.replies_to(room, unsure) == []
        assert desk.stop() == 0


def test_staff_hear_of_who_wants_a_person(data: Path, slack: SlackServer) -> None:
    ann, eve = slack.add_user("ann"), slack.add_user("eve")
    room, staff = slack.add_channel("help", [ann]), slack.add_channel("staff", [eve])
    here = environment(data, FRONTDESK_STAFF_CHANNEL=f"slack:{slack.team.id}/{staff}", **tokens(slack))
    with running(**here) as desk:
        desk.said("Slack: connected")
        ts = slack.say(ann, room, slack.mention("Let me talk to a person, please."))
        slack.wait_for(lambda: slack.replies_to(room, ts), 30)
        slack.wait_for(lambda: [seen for seen in slack.visible(staff) if seen.ours], 30)
        assert len([seen for seen in slack.visible(staff) if seen.ours]) == 1
        assert desk.stop() == 0


@pytest.mark.parametrize("when", ["while it is written", "before it begins"])
def test_a_killed_process_answers_once_after_its_next_start(
    data: Path, slack: SlackServer, model: ModelServer, when: str
) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    here = environment(data, FRONTDESK_MODEL=model.choice, **tokens(slack))
    with running(**here) as desk:
        desk.said("Slack: connected")
        ts = slack.say(ann, room, slack.mention(QUESTION))
        if when == "while it is written":
            slack.wait_for(lambda: any("You have" in seen.text for seen in slack.replies_to(room, ts)), 30)
        else:
            slack.wait_for(lambda: model.calls or not slack.unacknowledged, 30)
        desk.process.kill()
        desk.process.wait(10)
    with running(**here) as again:
        again.said("Slack: connected")
        slack.redeliver_unacknowledged()
        replies = finished(slack, room, ts)
        time.sleep(1)
        assert len(slack.replies_to(room, ts)) == 1, [seen.text for seen in replies]
        assert again.stop() == 0


def test_what_runs_ends_before_it_stops(data: Path, slack: SlackServer, model: ModelServer) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    with running(**environment(data, FRONTDESK_MODEL=model.choice, **tokens(slack))) as desk:
        desk.said("Slack: connected")
        ts = slack.say(ann, room, slack.mention(QUESTION))
        slack.wait_for(lambda: model.calls, 30)
        desk.process.terminate()
        desk.said("Stopping")
        status, told = desk.get("/readyz")
        assert (status, told["parts"]["process"]) == (503, "is stopping")
        assert desk.ended() == 0
    assert answered(slack, room, ts)


def test_signed_events_over_http(data: Path, slack: SlackServer) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    keys = tokens(slack) | {"SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": slack.signing_secret}
    with running(**environment(data, FRONTDESK_SLACK_HTTP_ADDRESS=address, **keys)) as desk:
        desk.said("Slack: connected")
        assert f"Slack: signed HTTP at {address}/slack/events" in desk.out
        slack.request_url = f"http://{address}/slack/events"
        assert slack.verify_url()[0] == 200
        ts = slack.say(ann, room, slack.mention(QUESTION))
        assert len(finished(slack, room, ts, "14 days")) == 1
        assert desk.stop() == 0


def test_a_worker_goes_on_where_another_process_died(
    data: Path, slack: SlackServer, model: ModelServer, postgres_url: str
) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    here = environment(data, FRONTDESK_MODEL=model.choice, DATABASE_URL=postgres_url, **tokens(slack))
    with ExitStack() as stack:
        listening = stack.enter_context(running(**here))
        listening.said("Slack: connected")
        worker = stack.enter_context(running("worker", **here))
        worker.said("Working on what is in the queue.")
        worker.ready()
        ts = slack.say(ann, room, slack.mention(QUESTION))
        slack.wait_for(lambda: model.calls, 30)
        assert not answered(slack, room, ts), "it was to be killed while it answers"
        listening.process.kill()
        assert len(finished(slack, room, ts)) == 1
        assert worker.stop() == 0


def test_two_processes_on_one_postgres_answer_each_question_once(
    data: Path, slack: SlackServer, postgres_url: str
) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    here = environment(data, DATABASE_URL=postgres_url, **tokens(slack))
    with running(**here) as one, running(**here) as two:
        one.said("Slack: connected")
        two.said("Slack: connected")
        asked = [slack.say(ann, room, slack.mention(QUESTION)) for _ in range(6)]
        for ts in asked:
            assert len(finished(slack, room, ts, "14 days")) == 1
        assert (one.stop(), two.stop()) == (0, 0)
