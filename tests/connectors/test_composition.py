"""From settings to models: which ones for which role and channel, and what is refused at the start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.errors import SettingsError
from agent.messages import Address
from agent.models.base import ModelBackend, Role
from agent.models.routing import FallbackChain
from agent.rooms import Room
from agent.settings import Settings, load
from connectors.composition import (
    ANYWHERE,
    Desk,
    ModelBuilder,
    build_models,
    catalogue_of,
    database_of,
    model_choices,
)
from connectors.places import build_connectors, described
from connectors.places.discord import discord_settings
from connectors.places.slack import client_link, slack_mode, slack_settings

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


# --- channels, as set in files and changed while running

TOML = """
staff_channel = "C9"
embedder = "none"
model = "quotes"
company = "Larkstay"
handoff_message = "We write tomorrow."
[channels."slack:T1"]
answering = "every-question"
[channels."slack:T1/C1"]
audience = "public, staff"
persona = "Brief."
"""


def desk_of(directory: Path, toml: str = TOML, **environment: str) -> Desk:
    return Desk.open(read(directory, toml, **environment).replaced(data=directory / "data"))


async def test_a_room_is_what_files_say_and_then_what_admins_changed(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as desk, desk_of(tmp_path) as other:
        staff = Address("slack", "T1", "C9")
        before = Room("every-question", frozenset({"public", "staff"}), "We write tomorrow.", staff)
        assert desk.rooms(SLACK) == before
        assert desk.rooms(Address("slack", "T2", "C1")).answering == "mention"
        await desk.set_channel(SLACK, {"mode": "off", "language": "german", "company": "Wren"}, "slack:T1/U1")
        assert desk.rooms(SLACK).answering == "off"
        persona = desk.channels.persona(SLACK)
        assert (persona.company, persona.voice, persona.language) == ("Wren", "Brief.", "german")
        assert other.rooms(SLACK) == before, "it has not looked yet"
        await other.refresh()
        assert other.rooms(SLACK).answering == "off"
        await desk.set_channel(SLACK, {"mode": "", "language": "", "company": ""}, "slack:T1/U1")
        assert desk.rooms(SLACK) == before
        assert await desk.ledger.channel_settings() == {}


async def test_a_form_changes_only_what_was_changed_in_it(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as desk:
        form = desk.channels.form(SLACK)
        assert form == {
            "mode": "every-question",
            "audience": "public, staff",
            "language": "",
            "model": "quotes",
            "persona": "Brief.",
        }
        await desk.set_channel(SLACK, {**form, "audience": "public,staff , public"}, "slack:T1/U1")
        assert await desk.ledger.channel_settings() == {}
        await desk.set_channel(SLACK, {**form, "mode": "only-when-sure"}, "slack:T1/U1")
        assert await desk.ledger.channel_settings() == {"slack:T1/C1": {"answering": "only-when-sure"}}
        assert desk.channels.form(SLACK)["mode"] == "only-when-sure"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mode": "loud"}, 'channel slack:T1/C1: mode cannot be "loud": it is one of mention'),
        ({"staff_channel": "C1"}, "staff_channel cannot be set for a channel"),
        ({"colour": "red"}, "there is no setting 'colour'"),
        ({"model": "qwn"}, "There is no model preset 'qwn'"),
        ({"model": "deepseek"}, "DEEPSEEK_API_KEY is not set"),
        ({"model": "http://169.254.169.254/v1#m"}, "a server's address is set by the operator"),
    ],
)
async def test_a_wrong_value_for_a_channel_is_refused(tmp_path: Path, values: dict[str, str], says: str) -> None:
    async with desk_of(tmp_path) as desk:
        with pytest.raises(SettingsError, match=re.escape(says)):
            await desk.set_channel(SLACK, values, "slack:T1/U1")
        assert await desk.ledger.channel_settings() == {}


async def test_admins_of_other_companies_decide_neither_audiences_nor_models(tmp_path: Path) -> None:
    async with desk_of(tmp_path, 'staff_admins = ["slack:T9/U9"]\n' + TOML, **MANY) as desk:
        for values in ({"audience": "public, staff, board"}, {"model": "qwen"}):
            with pytest.raises(SettingsError, match="is set by the operator"):
                await desk.set_channel(SLACK, values, "slack:T1/U1")
        await desk.set_channel(SLACK, {"mode": "off"}, "slack:T1/U1")
        await desk.set_channel(SLACK, {"audience": "public"}, "slack:T9/U9")
        assert desk.rooms(SLACK).audiences == frozenset({"public"})


async def test_a_model_changes_with_its_channel(tmp_path: Path) -> None:
    async with desk_of(tmp_path, TOML, DEEPSEEK_API_KEY="k") as desk:
        assert names(desk.models.choose("answer", SLACK)) == ["quotes"]
        await desk.set_channel(SLACK, {"model": "deepseek"}, "slack:T1/U1")
        assert names(desk.models.choose("answer", SLACK))[0].startswith("deepseek")


async def test_a_model_that_can_no_longer_be_used_leaves_that_of_the_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk_of(tmp_path, TOML, DEEPSEEK_API_KEY="k") as desk:
        await desk.set_channel(SLACK, {"model": "deepseek"}, "slack:T1/U1")
    async with desk_of(tmp_path) as later:
        await later.refresh()
        assert names(later.models.choose("answer", SLACK)) == ["quotes"]
    assert "The model that was chosen for slack:T1/C1 is not used: deepseek needs a key" in caplog.text


async def test_what_another_version_wrote_is_left_out(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as desk:
        await desk.ledger.set_channel("slack:T1/C1", "answering", "sometimes", "slack:T1/U1")
        await desk.ledger.set_channel("slack:T1/C1", "colour", "red", "slack:T1/U1")
        await desk.ledger.set_channel("slack:T1/C1", "company", "Wren", "slack:T1/U1")
        await desk.refresh()
        assert desk.rooms(SLACK).answering == "every-question"
        assert desk.channels.persona(SLACK).company == "Wren"


# --- places

MANY = {
    "SLACK_CLIENT_ID": "1.2",
    "SLACK_CLIENT_SECRET": "secret",
    "SLACK_SIGNING_SECRET": "secret",
    "FRONTDESK_ENCRYPTION_KEY": "k" * 43 + "=",
}
DISCORD = {"DISCORD_TOKEN": "MTA5.Gx-y_z.abc"}
BOT, APP, SIGNING = {"SLACK_BOT_TOKEN": "xoxb-1"}, {"SLACK_APP_TOKEN": "xapp-1"}, {"SLACK_SIGNING_SECRET": "s"}


@pytest.mark.parametrize(
    ("environment", "mode"),
    [({}, ""), (BOT | APP, "socket"), (BOT | SIGNING, "http"), (BOT | APP | SIGNING, "socket"), (MANY, "http")],
)
def test_how_slack_is_reached(tmp_path: Path, environment: dict[str, str], mode: str) -> None:
    assert slack_mode(read(tmp_path, **environment)) == mode


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (BOT, "SLACK_BOT_TOKEN is set, SLACK_APP_TOKEN is not."),
        (APP, "SLACK_APP_TOKEN is set, SLACK_BOT_TOKEN is not."),
        (SIGNING | APP, "SLACK_APP_TOKEN and SLACK_SIGNING_SECRET are set, SLACK_BOT_TOKEN is not."),
        ({"SLACK_CLIENT_ID": "1.2"} | SIGNING, "SLACK_CLIENT_SECRET is not."),
        ({"SLACK_CLIENT_SECRET": "x"}, "SLACK_CLIENT_ID is not."),
        ({"SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "x"}, "SLACK_SIGNING_SECRET is not."),
    ],
)
def test_half_a_set_of_tokens_is_refused_by_name(tmp_path: Path, environment: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        slack_mode(read(tmp_path, **environment))
    assert "docs/slack.md" in caught.value.hint


async def test_connectors_are_those_with_tokens(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as desk:
        with pytest.raises(SettingsError, match="no place to listen to") as caught:
            build_connectors(desk)
        assert "SLACK_BOT_TOKEN" in caught.value.hint
    async with desk_of(tmp_path, TOML, **BOT, **APP) as desk:
        built = build_connectors(desk)
        assert list(built) == ["slack"]
        assert not built["slack"].connected
        await built["slack"].close()


def test_what_slack_is_told(tmp_path: Path) -> None:
    toml = """
slack_commands = ["/ask"]
slack_http_address = "127.0.0.1:3001"
[staff]
channel = "discord:G1/C1"
members = ["U1", "slack:T1/U2", "discord:G1/1"]
"""
    settings = read(tmp_path, toml, **BOT, **SIGNING)
    told = slack_settings(settings, tmp_path)
    assert (told.host, told.port, told.commands) == ("127.0.0.1", 3001, ("/ask", "/handoff"))
    assert (told.staff, told.staff_channel) == (("U1", "slack:T1/U2"), "")
    assert told.database == f"sqlite:///{tmp_path / 'frontdesk.sqlite3'}"
    assert described("slack", settings) == "signed HTTP at 127.0.0.1:3001/slack/events"
    assert "xoxb" not in repr(told)


@pytest.mark.parametrize(
    ("api", "host"),
    [
        ("https://slack.com/api/", "app.slack.com"),
        ("https://slack-gov.com/api/", "app.slack-gov.com"),
        ("https://proxy.example/slack/api/", "app.slack.com"),
    ],
)
def test_links_lead_to_the_slack_that_is_used(tmp_path: Path, api: str, host: str) -> None:
    settings = read(tmp_path, SLACK_API_URL=api, **BOT, **SIGNING)
    assert client_link(settings, Address("slack", "T1", "C1")) == f"https://{host}/client/T1/C1"


async def test_slack_and_discord_side_by_side_need_to_know_where_the_staff_are(tmp_path: Path) -> None:
    both = {**BOT, **APP, **DISCORD}
    async with desk_of(tmp_path, TOML, **both) as desk:
        with pytest.raises(SettingsError, match="C9 may be a channel of Slack or of Discord") as caught:
            build_connectors(desk)
        assert "frontdesk.toml, line 2" in caught.value.message
    async with desk_of(tmp_path, 'staff_channel = "slack:T1/C9"', **both) as desk:
        built = build_connectors(desk)
        assert list(built) == ["slack", "discord"]
        for one in built.values():
            assert not one.connected
            await one.close()


def test_what_discord_is_told(tmp_path: Path) -> None:
    toml = """
discord_command = "ask"
discord_tags = ["Answered", "Waits", "Solved"]
discord_message_content = "off"
discord_backfill_hours = 2
[staff]
channel = "discord:1/9"
members = ["U1", "slack:T1/U2", "discord:1/77", "78"]
roles = ["discord:1/456"]
admins = ["77"]
"""
    settings = read(tmp_path, toml, DISCORD_API_URL="http://127.0.0.1:1/api/v10", **DISCORD)
    told = discord_settings(settings)
    assert (told.token, told.api_url) == (DISCORD["DISCORD_TOKEN"], "http://127.0.0.1:1/api/v10")
    assert (told.command, told.tags, told.message_content) == ("ask", ("Answered", "Waits", "Solved"), "off")
    assert (told.staff, told.staff_roles, told.admins) == (("U1", "discord:1/77", "78"), ("discord:1/456",), ("77",))
    assert (told.staff_channel, told.backfill_seconds) == ("discord:1/9", 7_200.0)
    assert told.token not in f"{told} {settings.values}"
    assert described("discord", settings) == "the gateway"
    with pytest.raises(SettingsError, match="discord_tags are three, and 1 are set"):
        discord_settings(read(tmp_path, 'discord_tags = "solved"', **DISCORD))


async def test_a_server_that_no_setting_names_may_be_anybodys(tmp_path: Path) -> None:
    toml = """
audience = "public, internal"
staff_channel = "discord:1/9"
staff_admins = ["77"]
[channels."discord:2/5"]
mode = "every-question"
"""
    ours, named, strange = (Address("discord", server, "5", "7") for server in "123")
    direct = Address("discord", "dm", "5", "7")
    async with desk_of(tmp_path, toml) as desk:
        internal = frozenset({"public", "internal"})
        assert [desk.rooms(one).audiences for one in (ours, named, direct)] == [internal] * 3
        assert desk.rooms(strange).audiences == {"public"}
        assert desk.rooms(named).answering == "every-question"
        with pytest.raises(SettingsError, match="audience is set by the operator"):
            await desk.set_channel(strange, {"audience": "internal"}, "discord:3/5")
        await desk.set_channel(strange, {"mode": "off", "audience": "public, internal"}, "discord:3/5")
        await desk.set_channel(strange, {"audience": "internal"}, "discord:3/77")
        assert desk.rooms(strange) == Room(
            "off", frozenset({"public"}), desk.rooms(ours).handoff_message, desk.rooms(ours).staff
        )
        await desk.set_channel(named, {"audience": "public"}, "discord:2/5")
        assert desk.rooms(named).audiences == {"public"}


async def test_where_a_question_is_answered_is_set_for_a_channel(tmp_path: Path) -> None:
    toml = '[channels."discord:1/5"]\ndiscord_answer_in = "channel"'
    async with desk_of(tmp_path, toml) as desk:
        channels = desk.channels
        assert channels.settings(Address("discord", "1", "5"))["discord_answer_in"] == "channel"
        assert channels.settings(Address("discord", "1", "6"))["discord_answer_in"] == "thread"


def test_the_database_is_a_directory_or_postgres(tmp_path: Path) -> None:
    assert database_of(read(tmp_path, f'data = "{tmp_path}"')) == tmp_path
    url = "postgresql://desk:secret@db.example/frontdesk"
    assert database_of(read(tmp_path, DATABASE_URL=url)) == url
