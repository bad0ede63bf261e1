"""Installations in two workspaces, with tokens that are encrypted at rest."""

from __future__ import annotations

import asyncio
import http.client
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet
from slack_sdk.oauth.installation_store import Installation

from agent.errors import SettingsError
from connectors.slack.connector import SlackSettings
from connectors.slack.oauth import KEY_FILE, Installations, Seal, key_for
from tests.connectors.slack.test_listening import listening, until
from tests.servers.slack import SlackServer, Team, serving

# slack_sdk sends the client's secret with it (web/async_internal_utils.py).
pytestmark = pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with serving(SlackServer()) as server:
        yield server
        assert server.violations == []
        assert server.bad_acks == []


def settings_for_many(slack: SlackServer, folder: Path, mode: str = "http") -> SlackSettings:
    return SlackSettings(
        app_token=slack.app_token if mode == "socket" else "",
        signing_secret=slack.signing_secret if mode == "http" else "",
        client_id=slack.client_id,
        client_secret=slack.client_secret,
        database=f"sqlite:///{folder / 'frontdesk.sqlite3'}",
        api_url=slack.api_url,
        host="127.0.0.1",
        port=0,
        backoff=(0.05, 0.2),
    )


def get(url: str, cookie: str = "") -> tuple[int, dict[str, str], str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()
    finally:
        connection.close()


def install(slack: SlackServer, port: int, team: Team, *, cookie: bool = True) -> int:
    """Click through the installation, as a browser does. The status of the last page."""
    base = f"http://127.0.0.1:{port}"
    slack.redirect_uri = f"{base}/slack/oauth_redirect"
    status, headers, page = get(f"{base}/slack/install?team={team.id}")
    assert status == 200
    start = page.index('<a href="') + len('<a href="')
    link = page[start : page.index('"', start)].replace("&amp;", "&")
    assert "chat:write" in parse_qs(urlsplit(link).query)["scope"][0]
    _, consent, _ = get(link)
    return get(consent["location"], headers["set-cookie"].partition(";")[0] if cookie else "")[0]


@pytest.mark.parametrize("mode", ["http", "socket"])
async def test_two_workspaces(slack: SlackServer, tmp_path: Path, mode: str) -> None:
    slack.team.installed = False
    first, second = slack.team, slack.add_team("Second", installed=False)
    ann, bob = slack.add_user("ann"), slack.add_user("bob", team=second)
    settings = settings_for_many(slack, tmp_path, mode)
    async with listening(slack, settings) as (connector, heard):
        assert await connector._token_for(first.id) is None
        for team in (first, second):
            assert await asyncio.to_thread(install, slack, connector.port, team) == 200
            assert await connector._token_for(team.id) == team.bot_token
        for user, team in ((ann, first), (bob, second)):
            slack.say(user, slack.dm(user, team), "Hello")
        await heard.count(2)
        assert {message.address.space for message in heard.messages} == {first.id, second.id}
        assert not any(message.outsiders for message in heard.messages)

        stored = b"".join(path.read_bytes() for path in tmp_path.glob("frontdesk.sqlite3*"))
        assert first.bot_user.encode() in stored
        assert b"xoxb-" not in stored
        assert ann.encode() not in stored, "who installed it may be a customer, and is not kept"
        key = tmp_path / KEY_FILE
        assert stat.S_IMODE(key.stat().st_mode) == 0o600

        slack.uninstall(second)
        await until(lambda: not slack.unacknowledged)
        assert await connector._token_for(second.id) is None
        assert await connector._token_for(first.id) == first.bot_token
        assert connector.connected
        heard.inbound.clear()
        slack.say(ann, slack.dm(ann), "Still here?")
        await heard.count(1)
    async with listening(slack, settings) as (connector, _):
        assert await connector._token_for(first.id) == first.bot_token
        assert await connector._token_for(second.id) is None
        slack.revoke_tokens(first)
        await until(lambda: not slack.unacknowledged)
        assert await connector._token_for(first.id) is None


async def test_another_browser_or_a_made_up_state_is_refused(slack: SlackServer, tmp_path: Path) -> None:
    slack.team.installed = False
    async with listening(slack, settings_for_many(slack, tmp_path)) as (connector, _):
        assert await asyncio.to_thread(lambda: install(slack, connector.port, slack.team, cookie=False)) == 400
        base = f"http://127.0.0.1:{connector.port}/slack/oauth_redirect"
        cookie = "slack-app-oauth-state=made-up"
        status, _, _ = await asyncio.to_thread(get, f"{base}?code=1&state=made-up", cookie)
        assert status == 401
        assert await connector._token_for(slack.team.id) is None


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
async def test_tokens_that_are_rotated(
    slack: SlackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    team = slack.team
    team.installed, team.lasts = False, 12 * 3600
    ann = slack.add_user("ann")
    settings = settings_for_many(slack, tmp_path)
    try:
        async with listening(slack, settings) as (connector, _):
            assert await asyncio.to_thread(install, slack, connector.port, team) == 200
            first = team.bot_token
            assert await connector._token_for(team.id) == first
            assert len(slack.called("oauth.v2.access")) == 1, "it lasts for long"
        await ends_in(tmp_path, 3600)
        async with listening(slack, settings) as (connector, _), listening(slack, settings) as (other, heard):
            # Refused at first: the old token goes on, and is not asked for again at once.
            slack.fail("oauth.v2.access", "internal_error")
            assert {await connector._token_for(team.id) for _ in range(3)} == {first}
            connector._installations._not_before.clear()  # type: ignore[union-attr]
            found = await asyncio.gather(*(one._token_for(team.id) for one in (connector, other) * 4))
            assert team.bot_token != first
            assert set(found) <= {first, team.bot_token}
            await until(lambda: len(slack.called("oauth.v2.access")) >= 3)
            for one in (connector, other):
                one._installations.store._remembered.clear()  # type: ignore[union-attr]
                assert await one._token_for(team.id) == team.bot_token
            slack.say(ann, slack.dm(ann), "Hello")
            await heard.count(1)
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("frontdesk.sqlite3*"))
        assert b"xoxe" not in stored
    finally:
        monkeypatch.undo()
        time.tzset()


async def ends_in(folder: Path, seconds: float) -> None:
    """Let the token that is stored end so soon."""
    with closing(sqlite3.connect(folder / "frontdesk.sqlite3")) as database, database:
        ends = datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        assert database.execute("update slack_bots set bot_token_expires_at = ?", (ends,)).rowcount == 1


async def test_the_key_changes(tmp_path: Path) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    database = f"sqlite:///{tmp_path / 'a.sqlite3'}"

    async def token(keys: str) -> str | None:
        found = Installations(client_id="1", client_secret="2", database=database, encryption_key=keys)
        try:
            return await found.token_for("T1")
        finally:
            await found.close()

    made = Installations(client_id="1", client_secret="2", database=database, encryption_key=old)
    await made.open()
    await made.store.async_save(
        Installation(
            app_id="A1", user_id="U1", team_id="T1", enterprise_id="E1", bot_token="xoxb-" + "1" * 300, bot_id="B1"
        )
    )
    await made.close()
    assert await token(old) == await token(f"{new},{old}") == "xoxb-" + "1" * 300
    assert await token(new) is None


def test_keys(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'data' / 'a.sqlite3'}"
    made = key_for("", database)
    assert key_for("", database) == made
    assert key_for("given", database) == "given"
    with pytest.raises(SettingsError, match="key"):
        key_for("", "postgresql://host/db")
    with pytest.raises(SettingsError, match="Fernet"):
        Seal("no key")
    seal = Seal(made)
    closed = seal.close("xoxb-1")
    assert closed is not None
    assert "xoxb" not in closed
    assert seal.close(closed) == closed
    assert seal.open(closed) == "xoxb-1"
    assert seal.open("xoxb-plain") is None
