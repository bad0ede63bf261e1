"""Settings: where they come from, what is refused and how, and the files that are generated from their table."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SettingsError
from agent.messages import Address
from agent.models.presets import key_names
from agent.settings import DOTENV, FILE, TABLE, Secret, Setting, as_dotenv, as_markdown, as_toml, load

KEY = "sk-abcdefghijklmnopqrstuvwxyz123456"
EXAMPLES = {
    "SLACK_BOT_TOKEN": "xoxb-1-2-x",
    "SLACK_APP_TOKEN": "xapp-1-x",
    "DISCORD_TOKEN": "MTA5.Gx-y_z.abc",
    "FRONTDESK_ENCRYPTION_KEY": "k" * 43 + "=",
    "DATABASE_URL": "postgresql://frontdesk:secret@db.example:5432/frontdesk",
}
"""Secrets that have a form of their own."""


def written(directory: Path, toml: str | bytes = "", dotenv: str | bytes = "") -> Path:
    for name, text in ((FILE, toml), (DOTENV, dotenv)):
        if text:
            (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return directory


def refused(directory: Path, environment: dict[str, str] | None = None, *, file: Path | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(directory, environment or {}, file=file)
    for text in (str(caught.value), caught.value.message, caught.value.hint, repr(caught.value)):
        assert KEY not in text
    return caught.value


# --- where they come from


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, {})
    assert {setting.name: setting.default for setting in TABLE} == loaded.values
    assert set(loaded.sources.values()) == {"default"}
    assert not loaded.keys


def test_later_sources_win_and_are_remembered(tmp_path: Path) -> None:
    written(
        tmp_path,
        'model = "toml"\ncompany = "toml"\nmax_answer_tokens = 100\nidle_seconds = 1\n',
        "FRONTDESK_MODEL=dotenv\nFRONTDESK_COMPANY=dotenv\nexport FRONTDESK_MAX_ANSWER_TOKENS=200\n",
    )
    loaded = load(tmp_path, {"FRONTDESK_MODEL": "environment", "FRONTDESK_COMPANY": "environment"})
    loaded = loaded.replaced(model="typed")
    assert [loaded[name] for name in ("model", "company", "max_answer_tokens", "idle_seconds", "total_seconds")] == [
        "typed",
        "environment",
        200,
        1.0,
        30.0,
    ]
    assert loaded.sources["model"] == "the command line"
    assert loaded.sources["company"] == "environment variable FRONTDESK_COMPANY"
    assert loaded.sources["max_answer_tokens"] == f"{tmp_path / DOTENV}, line 3, FRONTDESK_MAX_ANSWER_TOKENS"
    assert loaded.sources["idle_seconds"] == f"{tmp_path / FILE}, line 4"


def test_the_dotenv_file_belongs_beside_the_settings_file(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    written(tmp_path, 'model = "here"', "FRONTDESK_COMPANY=here")
    written(elsewhere, 'model = "there"', "FRONTDESK_COMPANY=there")
    loaded = load(tmp_path, {}, file=elsewhere / FILE)
    assert (loaded["model"], loaded["company"]) == ("there", "there")


def test_relative_paths_in_the_file_begin_at_its_folder(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'data = "state"'), {})["data"] == tmp_path / "state"
    assert load(written(tmp_path, 'data = "/srv/state"'), {})["data"] == Path("/srv/state")
    assert load(written(tmp_path, 'data = "~/state"'), {})["data"] == Path(os.environ["HOME"]) / "state"
    assert load(tmp_path, {"FRONTDESK_DATA": "state"})["data"] == Path("state")


@pytest.mark.parametrize("name", ["FRONTDESK_OFFLINE", "frontdesk_offline"])
@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("YES", True), (" on ", True), ("0", False), ("False", False), ("no", False)],
)
def test_booleans_in_the_environment(tmp_path: Path, name: str, text: str, value: bool) -> None:
    assert load(tmp_path, {name: text})["offline"] is value


def test_empty_means_unset_except_for_text(tmp_path: Path) -> None:
    written(tmp_path, 'max_answer_tokens = 100\ncompany = "Larkstay"\nqwen_region = "us"\noffline = true\n')
    names = ("FRONTDESK_MAX_ANSWER_TOKENS", "FRONTDESK_COMPANY", "FRONTDESK_QWEN_REGION", "FRONTDESK_OFFLINE")
    loaded = load(tmp_path, {**dict.fromkeys(names, " "), "DASHSCOPE_API_KEY": " "})
    assert loaded["max_answer_tokens"] == 100
    assert loaded["company"] == ""
    assert loaded["qwen_region"] == "us"
    assert loaded["offline"] is True
    assert not loaded.keys


def test_dotenv_as_people_write_it(tmp_path: Path) -> None:
    written(
        tmp_path,
        dotenv=b"\xef\xbb\xbf# a comment\n\nexport FRONTDESK_MODEL='qwen'  # another\nOTHER_APP=${HOME} $x\n"
        b'FRONTDESK_COMPANY = "Lark # stay"\nFRONTDESK_HANDOFF_MESSAGE="two\nlines"\r\n'
        b"FRONTDESK_IDLE_SECONDS=5 # seconds\nFRONTDESK_EMBEDDER=none",
    )
    loaded = load(tmp_path, {})
    assert (loaded["model"], loaded["company"], loaded["embedder"]) == ("qwen", "Lark # stay", "none")
    assert (loaded["handoff_message"], loaded["idle_seconds"]) == ("two\nlines", 5.0)
    assert loaded.sources["model"].endswith("line 3, FRONTDESK_MODEL")
    assert loaded.sources["embedder"].endswith("line 9, FRONTDESK_EMBEDDER")


def test_toml_as_people_write_it(tmp_path: Path) -> None:
    written(tmp_path, b'\xef\xbb\xbf# a comment\r\n"model" = "qwen"\r\n  idle_seconds = 2.5\r\n')
    loaded = load(tmp_path, {})
    assert (loaded["model"], loaded["idle_seconds"]) == ("qwen", 2.5)
    assert loaded.sources["idle_seconds"] == f"{tmp_path / FILE}, line 3"


@pytest.mark.parametrize("toml", ["", "\n\n", "# nothing", b"\xef\xbb\xbf"])
def test_an_empty_file_is_fine(tmp_path: Path, toml: str | bytes) -> None:
    (tmp_path / FILE).write_bytes(toml.encode() if isinstance(toml, str) else toml)
    assert load(tmp_path, {})["model"] == ""


def test_a_folder_called_dotenv_is_a_virtual_environment(tmp_path: Path) -> None:
    (tmp_path / DOTENV).mkdir()
    assert load(tmp_path, {})["model"] == ""


def test_what_kubernetes_sets_is_none_of_ours(tmp_path: Path) -> None:
    names = ["FRONTDESK_SERVICE_HOST", "FRONTDESK_SERVICE_PORT", "FRONTDESK_PORT", "FRONTDESK_PORT_80_TCP_ADDR"]
    assert load(tmp_path, dict.fromkeys(names, "10.0.0.1")).sources["model"] == "default"
    refused(written(tmp_path, dotenv="FRONTDESK_PORT=80"))


def test_a_text_keeps_its_last_space_where_it_matters(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"FRONTDESK_EMBEDDER_QUERY_PREFIX": "Query: ", "FRONTDESK_COMPANY": " Larkstay "})
    assert (loaded["embedder_query_prefix"], loaded["company"]) == ("Query: ", "Larkstay")


# --- what is refused


@pytest.mark.parametrize(
    ("toml", "line", "says"),
    [
        ("\nmodle = 'qwen'", 2, "there is no setting 'modle'. Did you mean model?"),
        ("max-answer-tokens = 5", 1, "Did you mean max_answer_tokens?"),
        ("Model = 'x'", 1, "Did you mean model?"),
        ("FRONTDESK_MODEL = 'x'", 1, "Did you mean model?"),
        ("'' = 1", 1, "there is no setting ''"),
        ("something = 1", 1, "docs/settings.md lists all settings."),
        ("\n[slack]\ntoken = 'x'", 2, "there is no table 'slack'. Settings stand in the file before any [table]"),
        ("[frontdesk]\nmodel = 'x'", 1, "before any [table]"),
        ("[[model]]\nname = 'x'", 1, "model cannot be a list: it is text"),
        ("company = 'x'\n\nmodel.name = 'x'", 3, "model cannot be a table: it is text, in quotes"),
        ("model = {name = 'x'}", 1, "model cannot be a table"),
        ("company = '''\nmodel = 1\n'''\nmodel = 2", 4, "model cannot be 2: it is text, in quotes."),
        ("model = 1979-05-27", 1, 'model cannot be "1979-05-27": it is text'),
        ("offline = 'yes'", 1, 'offline cannot be "yes": it is true or false.'),
        ("offline = 1", 1, "offline cannot be 1: it is true or false."),
        ("max_answer_tokens = '700'", 1, "it is a whole number, without quotes"),
        ("max_answer_tokens = true", 1, "max_answer_tokens cannot be true: it is a whole number"),
        ("max_answer_tokens = 70.5", 1, "it is a whole number"),
        ("max_answer_tokens = 1e999", 1, "it is a whole number"),
        ("max_answer_tokens = nan", 1, "it is a whole number"),
        ("max_answer_tokens = 5", 1, "it is at least 50"),
        ("max_answer_tokens = 99999999999999999999999", 1, "this value: it is at least 50 and at most 1,000,000,000"),
        ("idle_seconds = nan", 1, "it is at least 0.1"),
        ("idle_seconds = inf", 1, "it is at least 0.1 and at most"),
        ("idle_seconds = -1", 1, "it is at least 0.1"),
        ("embedder_dimensions = -1", 1, "it is at least 0"),
        (
            "qwen_region = 'eu'",
            1,
            'qwen_region cannot be "eu": it is one of intl, us, cn, hk, or WORKSPACE.REGION. For example: qwen_region = "intl"',
        ),
        ("qwen_region = ''", 1, "it is one of intl, us, cn, hk"),
        ("data = ''", 1, "it is a path"),
        ("data = 5", 1, "it is a path, in quotes"),
        ('data = "a\\u0000b"', 1, "it is a path"),
        ('data = "~nobody-of-this-name/x"', 1, "nobody knows that home directory"),
        ("model = 'a'\nmodel = 'b'", 2, "not valid TOML"),
        ("model = 'a'\n\nbroken", 3, "not valid TOML"),
        ("model = 'a'\nx = [[[\n", 2, "not valid TOML"),
        ("model = a b", 1, 'A setting is written as: name = "value"'),
        ("x = " + "9" * 5_000, 1, "a number is too long"),
        ("x = " + "[" * 50_000, 1, "the nesting too deep"),
        (
            "model_api_key = ''",
            1,
            "is a secret and does not belong into frontdesk.toml. Put FRONTDESK_MODEL_API_KEY=... into .env.",
        ),
        ("'model_api_key' = 5", 1, "is a secret"),
        ("slack_bot_token = 'xoxb-1'", 1, "Put SLACK_BOT_TOKEN=... into .env."),
        ("SLACK_BOT_TOKEN = 'xoxb-1'", 1, "It stands in .env or the environment: SLACK_BOT_TOKEN=..."),
        ("\nstaff = 'C9'", 2, "staff is a table. Write [staff]"),
        (
            "\n[staff]\nchanel = 'C9'",
            2,
            "[staff]: there is no setting 'chanel'. What can be is: channel, members, roles, admins.",
        ),
        (
            "[staff]\nchannel = 9",
            1,
            '[staff]: channel cannot be 9: it is text, in quotes. For example: channel = "slack:',
        ),
        ("[staff]\nmembers = [1]", 1, "members cannot be a list: it is people's ids"),
        ("[channels.'slack:T1/C1']\nmode = 'loud'", 1, 'mode cannot be "loud": it is one of mention'),
        ("[channels.'slack:T1/C1']\nstaff_channel = 'C9'", 1, "staff_channel cannot be set for a channel."),
        ("dashscope_api_key = ''", 1, "stands in .env or the environment: DASHSCOPE_API_KEY=..."),
    ],
)
def test_toml_is_refused_by_file_line_and_name(tmp_path: Path, toml: str, line: int, says: str) -> None:
    error = refused(written(tmp_path, toml))
    assert error.message.startswith((f"{tmp_path / FILE}, line {line}: ", f"{tmp_path / FILE}, line {line}, "))
    assert says in str(error).replace("\n", " ")


@pytest.mark.parametrize(
    ("dotenv", "line", "says"),
    [
        ("\n\n# x\n\nFRONTDESK_MODLE=x", 5, "there is no setting 'FRONTDESK_MODLE'. Did you mean FRONTDESK_MODEL?"),
        ("A=1\nFRONTDESK_MODEL qwen", 2, "not a line of the form NAME=value"),
        ("A=1\nFRONTDESK_MODEL", 2, "not a line of the form NAME=value"),
        ("A='\n\nFRONTDESK_MODEL=x", 1, "not a line of the form NAME=value"),
        ("=x", 1, "not a line of the form NAME=value"),
        ("A='1\n2'\nFRONTDESK_OFFLINE=maybe", 3, 'FRONTDESK_OFFLINE cannot be "maybe": it is true or false'),
        ("FRONTDESK_IDLE_SECONDS=five", 1, "it is a number. For example: FRONTDESK_IDLE_SECONDS=15"),
        ("FRONTDESK_DASHSCOPE_API_KEY=x", 1, "keeps its own name"),
    ],
)
def test_dotenv_is_refused_by_file_line_and_name(tmp_path: Path, dotenv: str, line: int, says: str) -> None:
    error = refused(written(tmp_path, dotenv=dotenv))
    assert error.message.startswith(f"{tmp_path / DOTENV}, line {line}")
    assert says in str(error).replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "FRONTDESK_CONFIG",
            "x.toml",
            "environment variable FRONTDESK_CONFIG: there is no setting 'FRONTDESK_CONFIG'.",
        ),
        ("FRONTDESK_MODELS", "x", "Did you mean FRONTDESK_MODEL?"),
        ("FRONTDESK_", "x", "there is no setting"),
        (
            "FRONTDESK_MAX_ANSWER_TOKENS",
            "9" * 5_000,
            "FRONTDESK_MAX_ANSWER_TOKENS cannot be this value: it is a whole number.",
        ),
        ("FRONTDESK_MAX_ANSWER_TOKENS", "NaN", "it is a whole number"),
        ("FRONTDESK_IDLE_SECONDS", "1e999", "it is at least 0.1"),
        ("FRONTDESK_IDLE_SECONDS", "1,5", "it is a number"),
        ("FRONTDESK_COMPANY", "Lark\udcff", "it is not UTF-8 text"),
        ("DASHSCOPE_API_KEY", "sk-\N{EN DASH}abc", "was it copied whole?"),
        ("FRONTDESK_SLACK_BOT_TOKEN", "xoxb-1", "Did you mean SLACK_BOT_TOKEN?"),
        (
            "SLACK_BOT_TOKEN",
            "xapp-1",
            "SLACK_BOT_TOKEN cannot be this value: it is a bot token, which begins with xoxb-",
        ),
        ("SLACK_APP_TOKEN", "xoxb-1", "it is an app-level token, which begins with xapp-"),
        ("SLACK_API_URL", "slack.com/api", "it is an address that begins with https:// or http://"),
        ("DISCORD_TOKEN", "MTA5.Gx-y_z", "DISCORD_TOKEN cannot be this value: it is a bot token: three parts"),
        ("DISCORD_GATEWAY_URL", "https://gateway", "it is an address that begins with wss:// or ws://"),
        ("FRONTDESK_DISCORD_TOKEN", "MTA5.Gx-y_z.abc", "Did you mean DISCORD_TOKEN?"),
        ("FRONTDESK_STAFF_ROLES", "slack:T1/456", "it is ids of roles, such as 456 or discord:1/456"),
        ("FRONTDESK_DISCORD_TAGS", "an answer to this question", "it is three names of at most 20 characters"),
        ("DATABASE_URL", "mysql://db/x", "it is the address of a Postgres database: postgresql://USER:PASSWORD@HOST"),
        ("FRONTDESK_ENCRYPTION_KEY", "short", "it is a Fernet key"),
        ("FRONTDESK_ANSWERING", "always", "it is one of mention, every-question, only-when-sure, off"),
        ("FRONTDESK_HEALTH_ADDRESS", "8080", "it is HOST:PORT, or off. For example: FRONTDESK_HEALTH_ADDRESS=127"),
        ("FRONTDESK_HEALTH_ADDRESS", "localhost:65536", "it is HOST:PORT, or off"),
        ("FRONTDESK_STAFF_MEMBERS", "U1,slack:U2", "it is people's ids, such as U1 or slack:T1/U1, in a list or"),
        ("FRONTDESK_SLACK_COMMANDS", "support", "it is slash commands, such as /support"),
        ("FRONTDESK_AUDIENCE", " , ", "it is one or more audiences"),
        ("OPENAI_API_KEY", "sk-abc sk-def", "environment variable OPENAI_API_KEY: a key has neither spaces"),
        (
            "FRONTDESK_MODEL_API_KEY",
            "sk-\nabc",
            "FRONTDESK_MODEL_API_KEY cannot be this value: a key has neither spaces",
        ),
    ],
)
def test_the_environment_is_refused_by_name(tmp_path: Path, name: str, value: str, says: str) -> None:
    assert says in str(refused(tmp_path, {name: value})).replace("\n", " ")


@pytest.mark.parametrize(
    "content", [b"\xff\xfem\x00o\x00", b"model = 'x'\ncompany = '\xff'", b"\x89PNG\r\n\x1a\n\x00\x00\xff", b"\0\1"]
)
@pytest.mark.parametrize("name", [FILE, DOTENV])
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    if name == DOTENV and content == b"\0\1":
        content = b""
    error = refused(tmp_path)
    assert re.match(
        rf"{re.escape(str(tmp_path / name))}, line [12]: not (UTF-8|valid TOML|a line of the form)", error.message
    )


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    assert "There is no settings file" in refused(tmp_path, file=tmp_path / "other.toml").message
    assert "frontdesk init" in refused(tmp_path, file=tmp_path / "other.toml").hint


def test_a_folder_or_what_cannot_be_reached_is_no_settings_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path, file=tmp_path).message
    (tmp_path / "file").touch()
    assert "cannot be read" in refused(tmp_path, file=tmp_path / "file" / FILE).message
    assert "cannot be read" in refused(tmp_path, file=Path("a\0b")).message
    (tmp_path / FILE).mkdir()
    assert "cannot be read" in refused(tmp_path).message


@pytest.mark.skipif(os.geteuid() == 0, reason="everything can be read by root")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "model = 'x'")
    (tmp_path / FILE).chmod(0)
    assert "Permission denied" in refused(tmp_path).message


# --- secrets


@pytest.mark.parametrize(
    ("toml", "dotenv"),
    [
        (f"model_api_key = '{KEY}'", ""),
        (f"DASHSCOPE_API_KEY = '{KEY}'", ""),
        (f"model = {{key = '{KEY}'}}", ""),
        (f"qwen_region = '{KEY}'", ""),
        (f"idle_seconds = '{KEY}'", ""),
        (f"[models]\nkey = '{KEY}'", ""),
        (f"model = {KEY}", ""),
        (f"model = '{KEY}", ""),
        ("", f"FRONTDESK_MODEL_API_KEY={KEY} {KEY}"),
        ("", f"DASHSCOPE_API_KEY='{KEY}\n"),
        ("", f"DASHSCOPE_API_KEY {KEY}"),
        ("", f"DASHSCOPE_API_KEY='{KEY}\n{KEY}'"),
        ("", f"FRONTDESK_OFFLINE={KEY}"),
        ("", f"FRONTDESK_IDLE_SECONDS={KEY}"),
    ],
)
def test_errors_never_show_a_key(tmp_path: Path, toml: str, dotenv: str) -> None:
    refused(written(tmp_path, toml, dotenv))  # which looks for KEY


def test_secrets_are_kept_and_hidden(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"DASHSCOPE_API_KEY": f" {KEY}\n", "FRONTDESK_MODEL_API_KEY": KEY, "OTHER_KEY": "x"})
    assert loaded.keys == {"DASHSCOPE_API_KEY": KEY}
    assert loaded["model_api_key"] == KEY
    assert KEY not in repr(loaded)
    assert KEY not in f"{loaded} {loaded.values} {loaded.keys} {loaded.replaced(model='x')!r}"
    assert repr(Secret("")) == "''"


# --- several names, names of their own, the staff and channels


def test_several_names_are_a_list_or_have_commas(tmp_path: Path) -> None:
    toml = 'audience = ["public", " staff ", "public"]\nslack_commands = "/ask"\n'
    toml += '[staff]\nmembers = ["U1", "slack:T1/U2"]\nadmins = []'
    loaded = load(written(tmp_path, toml), {"FRONTDESK_STAFF_ADMINS": "U3, slack:T1/U4,"})
    assert (loaded["audience"], loaded["slack_commands"]) == (("public", "staff"), ("/ask",))
    assert loaded["staff_members"] == ("U1", "slack:T1/U2")
    assert loaded["staff_admins"] == ("U3", "slack:T1/U4"), "the environment is stronger"
    assert loaded.sources["staff_members"] == f"{tmp_path / FILE}, line 3, [staff], members"


def test_some_settings_keep_the_names_that_people_know(tmp_path: Path) -> None:
    written(tmp_path, 'slack_api_url = "http://127.0.0.1:1/api/"', "SLACK_BOT_TOKEN=xoxb-file\nSLACK_APP_TOKEN=")
    loaded = load(tmp_path, {**EXAMPLES, "DATABASE_URL": " "})
    assert (loaded["slack_bot_token"], loaded["slack_api_url"]) == ("xoxb-1-2-x", "http://127.0.0.1:1/api/")
    assert (loaded["database_url"], loaded.sources["database_url"]) == ("", "default")
    assert "xoxb" not in f"{loaded} {loaded.values}"


def test_a_channel_has_settings_of_its_own(tmp_path: Path) -> None:
    toml = """
company = "Larkstay"
[channels."slack:T1/C1"]
mode = "every-question"
audience = "public, staff"
persona = "Brief."
"""
    loaded = load(written(tmp_path, toml), {})
    here = Address("slack", "T1", "C1", "1.0")
    there = loaded.in_channel(here)
    assert (there["answering"], there["audience"], there["persona"]) == (
        "every-question",
        ("public", "staff"),
        "Brief.",
    )
    assert there["company"] == "Larkstay"
    changed = loaded.with_channels({"slack:T1/C1": {"answering": "off"}, "slack:T1/C2": {"company": "Other"}})
    assert changed.in_channel(here)["answering"] == "off"
    assert changed.in_channel(here)["persona"] == "Brief.", "what was not changed is as in the file"
    assert changed.in_channel(Address("slack", "T1", "C2"))["company"] == "Other"
    assert loaded.in_channel(here)["answering"] == "every-question"


# --- what is generated


def test_every_setting_says_what_it_does() -> None:
    for setting in TABLE:
        assert setting.help.endswith("."), setting.name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", setting.name)
        own = setting.name.startswith(("slack_", "discord_")) and setting.secret
        own = own or setting.name in ("slack_api_url", "discord_api_url", "discord_gateway_url", "database_url")
        own = own or setting.name.startswith("chroma_")
        assert setting.variable == ("" if own else "FRONTDESK_") + setting.name.upper()


def test_the_commented_file_is_valid_when_uncommented(tmp_path: Path) -> None:
    lines = [line[1:] for line in as_toml().splitlines() if line.startswith("#") and not line.startswith("# ")]
    assert set(tomllib.loads("\n".join(lines))) == {setting.name for setting in TABLE if not setting.secret}
    loaded = load(written(tmp_path, "\n".join(lines)), {})
    secrets = {setting.name for setting in TABLE if setting.secret}
    assert all(source != "default" for name, source in loaded.sources.items() if name not in secrets)
    assert load(written(tmp_path, as_toml()), {}).values == load(tmp_path / "none", {}).values
    for setting in TABLE:
        assert as_toml().count(f"\n#{setting.name} = ") == (not setting.secret)


def test_the_commented_dotenv_is_valid_when_uncommented(tmp_path: Path) -> None:
    lines = [line[1:] for line in as_dotenv().splitlines() if line.startswith("#") and not line.startswith("# ")]
    names = {*key_names(), *(setting.variable for setting in TABLE if setting.secret)}
    assert {line.rstrip("=") for line in lines} == names
    values = dict.fromkeys(names, "x") | EXAMPLES
    loaded = load(written(tmp_path, dotenv="".join(f"{line}{values[line.rstrip('=')]}\n" for line in lines)), {})
    assert set(loaded.keys) == set(key_names())
    assert not [setting.name for setting in TABLE if setting.secret and not loaded[setting.name]]
    assert load(written(tmp_path, dotenv="\n".join(lines)), {}).keys == {}


def test_the_table_has_each_setting_once() -> None:
    lines = as_markdown().splitlines()
    for setting in TABLE:
        assert sum(f"`{setting.variable}`" in line.split("|")[2] for line in lines) == 1
        assert sum(f"`{setting.name}`" in line.split("|")[1] for line in lines) == (not setting.secret)
    assert all(line.count("|") == 5 for line in lines)


# --- any file at all

VALUES = st.sampled_from(["1", "'x'", '"x"', "true", "nan", "[1]", "{a=1}", "-1", "", "1979-05-27", "'''\nx", "9" * 30])
NAMES = st.sampled_from(
    ["model", "modle", "offline", "idle_seconds", "data", "[model]", "model.x", "model_api_key", "'model'", "#"]
)
LINES = st.tuples(NAMES, st.sampled_from([" = ", "=", " ", ""]), VALUES).map("".join)


def error_of(directory: Path, environment: dict[str, str]) -> SettingsError | None:
    try:
        load(directory, environment)
    except SettingsError as error:
        return error
    return None


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(), st.text().map(str.encode), st.lists(LINES).map("\n".join).map(str.encode)))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for name in (FILE, DOTENV):
        directory = tmp_path_factory.mktemp("any")
        (directory / name).write_bytes(content)
        error = error_of(directory, {})
        assert error is None or (error.message.startswith(str(directory / name)) and error.hint)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(TABLE), st.text(st.characters(exclude_characters="\0")))
def test_any_value_in_the_environment_is_read_or_refused(setting: Setting, value: str) -> None:
    error = error_of(Path("/nowhere"), {setting.variable: value})
    assert error is None or error.message.startswith(f"environment variable {setting.variable}: ")
