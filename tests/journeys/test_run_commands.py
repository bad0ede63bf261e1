"""`frontdesk run` and the commands beside it, by subprocess: starting, stopping, what is refused, what can be looked at."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.ledger import Begun, Ledger
from agent.messages import Address, Handoff, Message
from connectors.discord.permissions import USED
from tests.journeys import forked
from tests.journeys.running import FRONTDESK, Running, discord_token, environment, running, tokens
from tests.servers.discord import DiscordServer
from tests.servers.slack import SlackServer, serving

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "larkstay" / "documents"
QUESTION = "How long do I have to write a review after check-out?"
KEYS = {"SLACK_BOT_TOKEN": "xoxb-1-2-secretsecret", "SLACK_APP_TOKEN": "xapp-1-secretsecret"}


def frontdesk(*arguments: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    if arguments[0] in ("run", "worker"):
        done = subprocess.run(
            [FRONTDESK, *arguments], env=settings, input=typed.encode(), capture_output=True, timeout=60
        )
    else:
        done = forked.run(arguments, settings, typed.encode())
    out, errors = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in out + errors
    return subprocess.CompletedProcess(done.args, done.returncode, out, errors)


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("synced")
    assert frontdesk("knowledge", "sync", str(SAMPLE), **environment(data)).returncode == 0
    return data


@pytest.fixture
def data(synced: Path, tmp_path: Path) -> Path:
    """A data directory with the sample documents."""
    return Path(shutil.copytree(synced, tmp_path / "data"))


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server


@pytest.fixture
def desk(data: Path, slack: SlackServer) -> Iterator[Running]:
    """A frontdesk that hears the local Slack."""
    with running(**environment(data, **tokens(slack))) as started:
        started.said("Slack: connected")
        started.ready()
        yield started


# --- starting and stopping


def test_it_says_what_it_starts_and_stops_in_order(desk: Running, slack: SlackServer) -> None:
    assert "Slack: Socket Mode\n" in desk.out
    assert f"Slack: connected, workspace {slack.team.id} (Acme), as @support-agent" in desk.out
    assert "Answers are quoted from the documents, no model is used." in desk.out
    assert desk.get("/healthz") == (200, {"ok": True})
    parts = desk.get("/readyz")[1]["parts"]
    assert parts == dict.fromkeys(("event loop", "process", "database", "slack"), "ok")
    began = time.monotonic()
    assert desk.stop() == 0
    assert time.monotonic() - began < 15
    assert desk.out.endswith("Once more to stop at once.\nStopped.\n")
    assert slack.bot_token not in desk.out + desk.errors


def test_a_second_process_is_told_who_is_there(desk: Running, data: Path, slack: SlackServer) -> None:
    began = time.monotonic()
    second = frontdesk("run", **environment(data, **tokens(slack)))
    assert time.monotonic() - began < 15
    assert second.returncode == 1
    assert f"{data} is in use by process {desk.process.pid} on {socket.gethostname()} since 20" in second.stderr
    assert "--data DIR" in second.stderr
    assert desk.process.poll() is None


def test_a_killed_process_leaves_no_lock(desk: Running, data: Path, slack: SlackServer) -> None:
    desk.process.kill()
    desk.process.wait(10)
    with running(**environment(data, **tokens(slack))) as next_one:
        next_one.said("Slack: connected")
        assert next_one.stop() == 0
    assert not (data / "running.holder").exists()


def test_ctrl_c_stops_too_and_the_second_signal_at_once(desk: Running) -> None:
    desk.process.send_signal(signal.SIGINT)
    desk.said("Stopping")
    desk.process.send_signal(signal.SIGINT)
    assert desk.ended(10) in (0, 130)


def test_a_revoked_token_is_told_and_ends_readiness(desk: Running, slack: SlackServer) -> None:
    slack.revoke_tokens()
    ends = time.monotonic() + 20
    while (told := desk.get("/readyz"))[0] == 200:
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert "SLACK_BOT_TOKEN" in told[1]["parts"]["slack"]
    assert "ERROR" in desk.errors
    assert desk.stop() == 0


# --- what is refused


def test_without_tokens_it_says_where_to_get_them(data: Path) -> None:
    done = frontdesk("run", **environment(data))
    assert done.returncode == 1
    assert "SLACK_BOT_TOKEN and SLACK_APP_TOKEN" in done.stderr
    assert "docs/slack.md" in done.stderr


def test_an_empty_knowledge_base_is_refused(tmp_path: Path) -> None:
    done = frontdesk("run", **environment(tmp_path / "empty", **KEYS))
    assert done.returncode == 1
    assert "The knowledge base is empty." in done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SLACK_APP_TOKEN": ""}, "SLACK_BOT_TOKEN is set, SLACK_APP_TOKEN is not."),
        ({"SLACK_BOT_TOKEN": "xapp-1-secretsecret"}, "it is a bot token, which begins with xoxb-"),
        ({"DATABASE_URL": "mysql://db/x"}, "DATABASE_URL cannot be this value"),
        ({"FRONTDESK_ANSWERING": "always"}, "it is one of mention, every-question"),
        ({"FRONTDESK_HEALTH_ADDRESS": "203.0.113.1:80"}, "health_address: 203.0.113.1:80 cannot be listened on"),
    ],
)
def test_wrong_settings_are_refused_by_name(data: Path, settings: dict[str, str], says: str) -> None:
    done = frontdesk("run", **environment(data, **(KEYS | settings)))
    assert done.returncode == 1
    assert says in done.stderr
    assert "secretsecret" not in done.stderr


def test_a_token_that_slack_refuses_ends_it(data: Path, slack: SlackServer) -> None:
    keys = tokens(slack) | {"SLACK_BOT_TOKEN": "xoxb-1-2-secretsecret"}
    done = frontdesk("run", **environment(data, **keys))
    assert done.returncode == 1
    assert "Slack refused SLACK_BOT_TOKEN: invalid_auth" in done.stderr
    assert "secretsecret" not in done.stderr


def test_a_port_in_use_is_told(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = frontdesk("run", **environment(data, **(KEYS | {"FRONTDESK_HEALTH_ADDRESS": address})))
    assert done.returncode == 1
    assert f"health_address: {address} cannot be listened on" in done.stderr


def test_a_worker_needs_postgres(data: Path) -> None:
    done = frontdesk("worker", **environment(data, **KEYS))
    assert done.returncode == 1
    assert "DATABASE_URL=postgresql://" in done.stderr


# --- what can be looked at while it runs


def test_turns_tickets_and_erasing_while_it_runs(desk: Running, data: Path, slack: SlackServer) -> None:
    ann = slack.add_user("ann")
    room = slack.add_channel("help", [ann])
    here = environment(data)
    asked = slack.say(ann, room, slack.mention(QUESTION))
    slack.wait_for(lambda: any("14 days" in seen.text for seen in slack.replies_to(room, asked)), 20)
    wanted = slack.say(ann, room, slack.mention("Let me talk to a person, please."))
    slack.wait_for(lambda: slack.replies_to(room, wanted), 20)

    found: list[dict[str, str]] = []
    ends = time.monotonic() + 20
    while [one["state"] for one in found] != ["handed_off", "answered"]:
        assert time.monotonic() < ends, found
        found = json.loads(frontdesk("turns", "--json", **here).stdout)["turns"]
    assert json.loads(frontdesk("turns", "--state", "failed", "--json", **here).stdout) == {"turns": []}
    assert "answered" in frontdesk("turns", **here).stdout
    assert frontdesk("turns", "retry", found[0]["id"], **here).returncode == 1, "only what failed is run again"

    (ticket,) = json.loads(frontdesk("tickets", "--json", **here).stdout)["tickets"]
    number = str(ticket["number"])
    assert (ticket["status"], ticket["customer"]) == ("open", f"slack:{slack.team.id}/{ann}")
    assert "talk to a person" in frontdesk("tickets", "show", number, **here).stdout
    assert "1 tickets are open" in frontdesk("doctor", **here).stdout
    assert "frontdesk_open_tickets 1.0" in desk.get("/metrics")[1].splitlines()
    assert f"Ticket {number} is resolved." in frontdesk("tickets", "resolve", number, **here).stdout
    assert "resolved before" in frontdesk("tickets", "resolve", number, **here).stdout
    assert "no open tickets" in frontdesk("tickets", **here).stdout
    assert json.loads(frontdesk("tickets", "--all", "--json", **here).stdout)["tickets"][0]["status"] == "resolved"

    person = f"slack:{slack.team.id}/{ann}"
    assert frontdesk("erase", person, typed="n\n", **here).returncode == 130
    erased = frontdesk("erase", person, "--yes", **here)
    assert erased.stdout.startswith(f"Removed of {person}: ")
    assert "Nothing is stored" in frontdesk("erase", person, "--yes", **here).stdout
    assert json.loads(frontdesk("turns", "--json", **here).stdout) == {"turns": []}
    assert desk.stop() == 0


async def test_what_customers_write_neither_breaks_lines_nor_steers_the_terminal(tmp_path: Path) -> None:
    hostile = "Where\nis\tit?\x1b[2J\x1b]0;title\x07"
    ledger = Ledger(tmp_path)
    address = Address("slack", "T1", "C1", "1700000000.000100")
    asked = Message(f"{address.channel}#{address.thread}", address, "U1", "customer", hostile, datetime.now(UTC))
    await ledger.accept(asked)
    begun = await ledger.begin(asked.id)
    assert isinstance(begun, Begun)
    await ledger.decide(asked.id, begun.revision, Handoff("failed", "Sorry.", hostile), customer_question=hostile)
    await ledger.finish(asked.id, "failed", f"RuntimeError: {hostile}")
    await ledger.close()
    here = environment(tmp_path)
    (line,) = frontdesk("turns", **here).stdout.splitlines()
    assert line.split("\t")[-1].startswith("RuntimeError: Where is it?")
    (ticket,) = frontdesk("tickets", **here).stdout.splitlines()
    shown = frontdesk("tickets", "show", ticket.partition("\t")[0], **here).stdout
    assert "Where\nis" in shown
    assert "\x1b" not in line + shown


def test_what_is_not_there_is_told(data: Path) -> None:
    here = environment(data)
    assert "There is no ticket 7." in frontdesk("tickets", "show", "7", **here).stderr
    assert "There is no failed turn 'x'." in frontdesk("turns", "retry", "x", **here).stderr
    assert "'ann' is no person's id." in frontdesk("erase", "ann", **here).stderr
    assert (
        frontdesk("prune", "--days", "30", **here).stdout
        == "Removed 0 conversations that ended more than 30 days ago.\n"
    )
    assert frontdesk("turns", **here).stdout == "Nobody has asked anything yet.\n"


def test_the_manifest_is_json_with_our_commands(tmp_path: Path) -> None:
    here = environment(tmp_path, FRONTDESK_COMPANY="Larkstay", FRONTDESK_SLACK_COMMANDS="/ask,/person")
    made = json.loads(frontdesk("slack", "manifest", **here).stdout)
    assert made["display_information"]["name"] == "Larkstay"
    assert [one["command"] for one in made["features"]["slash_commands"]] == ["/ask", "/person"]
    assert made["settings"]["socket_mode_enabled"] is True
    http = json.loads(frontdesk("slack", "manifest", "--http", "https://desk.example", "--name", "Desk", **here).stdout)
    assert http["settings"]["event_subscriptions"]["request_url"] == "https://desk.example/slack/events"
    assert frontdesk("slack", "manifest", "--http", "http://desk.example", **here).returncode == 1


def test_doctor_looks_at_slack(data: Path, slack: SlackServer) -> None:
    here = environment(data, **tokens(slack))
    room = slack.add_channel("staff", [])
    well = frontdesk("doctor", FRONTDESK_STAFF_CHANNEL=f"slack:{slack.team.id}/{room}", **here)
    assert well.returncode == 0, well.stdout
    assert f"ok    Slack: workspace {slack.team.id} (Acme), as @support-agent" in well.stdout
    assert "ok    Slack app token: opens a connection" in well.stdout
    assert f"ok    staff channel: slack:{slack.team.id}/{room} (#staff)" in well.stdout
    assert "database: SQLite in the data directory, version " in well.stdout
    elsewhere = slack.add_channel("elsewhere", [], bot_in=False)
    slack.team.scopes.remove("files:read")
    ill = frontdesk("doctor", FRONTDESK_STAFF_CHANNEL=elsewhere, **(here | {"SLACK_APP_TOKEN": "xapp-1-secretsecret"}))
    assert ill.returncode == 1
    assert "without the scopes files:read (reading files that customers send)" in ill.stdout
    assert "FAIL  Slack app token: invalid_auth" in ill.stdout
    assert f"FAIL  staff channel: slack:{slack.team.id}/{elsewhere}: the app is no member of it" in ill.stdout
    assert "secretsecret" not in ill.stdout + ill.stderr
    away = frontdesk("doctor", **(here | {"SLACK_API_URL": "http://127.0.0.1:9/api/"})).stdout
    assert "FAIL  Slack: http://127.0.0.1:9/api/ cannot be reached" in away
    assert "Look at the network of this machine" in away
    assert "api.slack.com" not in away, "the tokens may well be right"


def test_doctor_looks_at_discord(data: Path, tmp_path: Path) -> None:
    with serving(DiscordServer()) as discord:
        guild, role = discord.guild, discord.add_role(discord.guild, "team")
        staff, help_room, forum = (
            discord.add_channel("staff", only_roles=[role]),
            discord.add_channel("help"),
            discord.add_forum("ideas"),
        )
        (tmp_path / "frontdesk.toml").write_text(
            f'[staff]\nchannel = "discord:{guild}/{staff}"\n[channels."discord:{guild}/{help_room}"]\nmode = "every-question"\n'
            f'[channels."discord:{guild}/{forum}"]\nmode = "only-when-sure"\n'
        )
        here = environment(data, **discord_token(discord))
        config = ("--config", str(tmp_path / "frontdesk.toml"), "doctor")
        well = frontdesk(*config, **here)
        assert well.returncode == 0, well.stdout
        assert f"ok    Discord: application {discord.application_id}, as @frontdesk, in 1 server" in well.stdout
        assert "ok    Discord gateway: 1 shard, 1000 of 1000 sessions are left today" in well.stdout
        assert "ok    Discord message content: switched on" in well.stdout
        assert "note  Discord commands: Discord does not know them as they are now: support, Ask support" in well.stdout
        assert f"ok    staff channel: discord:{guild}/{staff} (#staff)" in well.stdout
        assert f"ok    channel: discord:{guild}/{help_room} (#help)" in well.stdout
        assert f"ok    channel: discord:{guild}/{forum} (#ideas)" in well.stdout
        assert discord.commands[""] == [], "it only looks"

        discord.message_content_allowed = False
        discord.gateway.session_limit(1000, 20)
        discord.overwrite(staff, discord.bot_role(), view_channel=False)
        discord.overwrite(help_room, guild, create_public_threads=False)
        discord.overwrite(help_room, discord.bot_role(), create_public_threads=False, embed_links=False)
        discord.overwrite(forum, discord.bot_role(), manage_threads=False)
        ill = frontdesk(*config, **here)
        assert ill.returncode == 1
        lines = ill.stdout.split("\n")
        for start, hint in (
            ("FAIL  Discord gateway: 1 shard, 20 of 1000 sessions are left today", "Something starts it again"),
            (
                "FAIL  Discord message content: it is not switched on for the app, and is needed",
                "Switch Message Content Intent on",
            ),
            (
                f"FAIL  staff channel: discord:{guild}/{staff}",
                "Edit Channel, Permissions, the bot's role: allow View Channels",
            ),
            (
                f"FAIL  channel: discord:{guild}/{help_room} (#help): the bot may not: Embed Links, Create Public Threads",
                "Edit",
            ),
            (f"FAIL  channel: discord:{guild}/{forum} (#ideas): the bot may not: Manage Threads", "Edit Channel"),
        ):
            (found,) = [number for number, line in enumerate(lines) if line.startswith(start)]
            assert lines[found + 1].strip().startswith(hint)
        refused = frontdesk("doctor", **(here | {"DISCORD_TOKEN": "MTA5.secret.secret"}))
        assert "FAIL  Discord: Discord does not accept the bot's token." in refused.stdout
        assert "secret.secret" not in refused.stdout + refused.stderr


def test_the_invite_asks_for_what_is_used(tmp_path: Path) -> None:
    here = environment(tmp_path)
    told = frontdesk("discord", "invite", "--application", "42", **here).stdout
    link, *lines = told.split("\n")
    assert (
        link
        == "https://discord.com/oauth2/authorize?client_id=42&scope=bot+applications.commands&permissions=326417599488"
    )
    for permission in USED.values():
        assert any(line.split() == f"{permission.label} {permission.why}".split() for line in lines)
    assert "DISCORD_TOKEN is not set" in frontdesk("discord", "invite", **here).stderr
    unreached = frontdesk("discord", "invite", DISCORD_TOKEN="a.b.c", DISCORD_API_URL="http://127.0.0.1:9/api", **here)
    assert "Discord does not tell which application it is" in unreached.stderr


def test_the_log_may_be_json(data: Path, slack: SlackServer) -> None:
    with running(**environment(data, FRONTDESK_LOG_FORMAT="json", **tokens(slack))) as started:
        started.said("Slack: connected")
        assert started.stop() == 0
        lines = [json.loads(line) for line in started.errors.splitlines()]
    assert any(line["logger"].startswith("connectors.slack") for line in lines)
