"""As a new user would: the README's Slack section, word by word, in a directory with nothing in it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.running import FRONTDESK, environment, running, tokens
from tests.servers.slack import Seen, SlackServer, serving

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
        assert (server.violations, server.notified, server.unfurled, server.bad_acks) == ([], [], [], [])


def section() -> str:
    (found,) = re.findall(r"^## Slack$(.*?)^## ", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def answered(slack: SlackServer, room: str, ts: str) -> list[Seen]:
    """What was answered there, once its source stands below it."""

    def found() -> list[Seen]:
        seen = slack.replies_to(room, ts)
        return seen if any("How to write a document" in one.text for one in seen) else []

    replies: list[Seen] = slack.wait_for(found, 20)
    return replies


def test_the_readmes_slack_section_leads_to_a_first_answer(
    tmp_path: Path, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, place, printed = tokens(slack), tmp_path, {}
    # Where Slack is, and what keeps tests apart: all else is what the section says.
    here = environment(tmp_path / "data", SLACK_API_URL=given["SLACK_API_URL"])
    lines = "".join(re.findall(r"^```\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)).splitlines()
    for line in lines:
        words = shlex.split(line)
        if words[0] == "cd":
            place /= words[1]
        elif words[0] != "frontdesk":
            name = line.partition("=")[0]
            with (place / ".env").open("a") as file:
                file.write(f"{name}={given[name]}\n")
        elif words[1] != "run":
            done = subprocess.run([FRONTDESK, *words[1:]], cwd=place, env=here, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            printed[words[1]] = done.stdout
    assert lines[-1] == "frontdesk run"
    assert "FAIL" not in printed["doctor"]

    # The app is made from the manifest: it hears and may do what stands there, and no more.
    manifest = json.loads(printed["slack"])
    slack.events = set(manifest["settings"]["event_subscriptions"]["bot_events"])
    slack.team.scopes = manifest["oauth_config"]["scopes"]["bot"]
    name = manifest["features"]["bot_user"]["display_name"]
    (question,) = re.findall(rf"`@{name} (.*?)`", section())
    assert f"/invite @{name}" in section()
    monkeypatch.chdir(place)
    with running("run", **here) as started:
        started.said("Slack: connected")
        ann = slack.add_user("ann")
        direct, room = slack.dm(ann), slack.add_channel("help", [ann], bot_in=False)
        slack.join(slack.bot_user, room, ann)
        asked = slack.say(ann, direct, question), slack.say(ann, room, slack.mention(question))
        for where, ts in zip((direct, room), asked, strict=True):
            (reply,) = answered(slack, where, ts)
            assert "One subject for each document" in reply.text
        assert "no scope" not in started.errors
        assert started.stop() == 0
