"""Installations in many workspaces: Slack's OAuth, with every token encrypted at rest."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import sqlalchemy
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from slack_sdk.errors import SlackTokenRotationError
from slack_sdk.oauth.installation_store import Bot, Installation
from slack_sdk.oauth.installation_store.sqlalchemy import (
    AsyncSQLAlchemyInstallationStore,
    SQLAlchemyInstallationStore,
)
from slack_sdk.oauth.state_store.sqlalchemy import AsyncSQLAlchemyOAuthStateStore
from slack_sdk.oauth.token_rotation.async_rotator import AsyncTokenRotator
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from agent.errors import SettingsError
from connectors.slack.manifest import INSTALL_PATH, REDIRECT_PATH

KEY_FILE = "slack.key"
_MARK = "fernet:"
_SECRETS = ("bot_token", "bot_refresh_token", "user_token", "user_refresh_token", "incoming_webhook_url")
_STATE_SECONDS = 600
_SECONDS_REMEMBERED, _MOST_REMEMBERED = 10.0, 10_000
_MINUTES_LEFT = 120
"""With token rotation a token lasts twelve hours; so long before its end it is exchanged for the next one."""
_SECONDS_TO_RENEW_AGAIN = 10.0

_log = logging.getLogger(__name__)


class Seal:
    """Encrypts and decrypts. `keys` are Fernet keys, separated by commas; the first encrypts, all decrypt."""

    def __init__(self, keys: str) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key.strip().encode()) for key in keys.split(",") if key.strip()])
        except ValueError:
            raise SettingsError(
                "the key for Slack's tokens is not a Fernet key",
                'Make one: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"',
            ) from None

    def close(self, secret: str | None) -> str | None:
        """The secret as it is stored; what is encrypted already stays as it is."""
        if not secret or secret.startswith(_MARK):
            return secret
        return _MARK + self._fernet.encrypt(secret.encode()).decode()

    def open(self, stored: str | None) -> str | None:
        """The secret; None when no key opens it, or when it was not encrypted by us."""
        if not stored or not stored.startswith(_MARK):
            return None
        try:
            return self._fernet.decrypt(stored.removeprefix(_MARK).encode()).decode()
        except InvalidToken:
            _log.error("a token of Slack cannot be decrypted: its key was changed; install the app there again")
            return None


def key_for(keys: str, database: str) -> str:
    """The keys of the settings, else the one in SQLite's directory, which is made when there is none."""
    if keys.strip():
        return keys
    url = sqlalchemy.make_url(database)
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        raise SettingsError(
            "Slack's tokens need a key to be encrypted with",
            "Set FRONTDESK_ENCRYPTION_KEY to a Fernet key, and keep it.",
        )
    path = Path(url.database).absolute().parent / KEY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(opened, "w", encoding="ascii") as file:
        file.write(Fernet.generate_key().decode())
    return path.read_text("ascii").strip()


def engine_for(database: str) -> AsyncEngine:
    """An engine for the database of the settings, whose address may name no driver."""
    url = sqlalchemy.make_url(database)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    return create_async_engine(url.set(drivername=drivers.get(url.drivername, url.drivername)))


class SealedStore(AsyncSQLAlchemyInstallationStore):
    """The SDK's store, to which no token goes in plain."""

    def __init__(self, client_id: str, engine: AsyncEngine, seal: Seal) -> None:
        super().__init__(client_id, engine, logger=_log)
        self._seal = seal
        self._remembered: dict[str, tuple[float, Bot]] = {}
        for table in (self.bots, self.installations):
            for name in _SECRETS:
                if name in table.c:
                    # An encrypted token is longer than the SDK's columns.
                    table.c[name].type = sqlalchemy.Text()

    async def async_save(self, installation: Installation) -> None:
        """Keep the bot of an installation. Who installed it is nobody's business: it may be a customer."""
        await self.async_save_bot(installation.to_bot())

    async def async_save_bot(self, bot: Bot) -> None:
        """Keep a bot."""
        await super().async_save_bot(self._closed(bot))
        self._remembered.pop(bot.team_id or "", None)

    async def bot_of(self, team: str) -> Bot | None:
        """The newest bot in a workspace, also where the workspace is part of an organisation; remembered for seconds."""
        kept = self._remembered.get(team)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        found = await self.newest_bot_of(team)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.clear()
        if found is not None:
            # Another process may install it any moment, and its first event must not be lost.
            self._remembered[team] = (time.monotonic() + _SECONDS_REMEMBERED, found)
        return found

    async def newest_bot_of(self, team: str) -> Bot | None:
        """The same, as it is stored now."""
        async with self.engine.connect() as connection:
            row = (await connection.execute(self._newest(team, *self.bots.c))).mappings().first()
        if row is None:
            return None
        found: Bot = self._changed(SQLAlchemyInstallationStore.build_bot_entity(row), self._seal.open)
        ends = row["bot_token_expires_at"]
        # It is stored in UTC without saying so.
        found.bot_token_expires_at = int(ends.replace(tzinfo=UTC).timestamp()) if ends is not None else None
        return found if found.bot_token else None

    async def renew(self, team: str, bot: Bot) -> None:
        """Keep the tokens that came in the place of those of the newest bot."""
        closed = self._closed(bot)
        ends = datetime.fromtimestamp(bot.bot_token_expires_at or 0, UTC).replace(tzinfo=None)
        values = {"bot_token": closed.bot_token, "bot_refresh_token": closed.bot_refresh_token}
        which = self.bots.c.id == self._newest(team, self.bots.c.id).scalar_subquery()
        async with self.engine.begin() as connection:
            await connection.execute(self.bots.update().where(which).values(**values, bot_token_expires_at=ends))
        self._remembered.pop(team, None)

    def _newest(self, team: str, *columns: Any) -> sqlalchemy.Select[Any]:
        c = self.bots.c
        mine = sqlalchemy.and_(c.client_id == self.client_id, c.team_id == team, c.bot_token.is_not(None))
        return sqlalchemy.select(*columns).where(mine).order_by(c.installed_at.desc(), c.id.desc()).limit(1)

    async def forget(self, team: str) -> None:
        """Delete everything of a workspace."""
        async with self.engine.begin() as connection:
            for table in (self.bots, self.installations):
                mine = sqlalchemy.and_(table.c.client_id == self.client_id, table.c.team_id == team)
                await connection.execute(table.delete().where(mine))
        self._remembered.pop(team, None)

    def _closed(self, record: Any) -> Any:
        return self._changed(record, self._seal.close)

    @staticmethod
    def _changed(record: Any, change: Any) -> Any:
        changed = copy.copy(record)
        for name in _SECRETS:
            if getattr(changed, name, None):
                setattr(changed, name, change(getattr(changed, name)))
        return changed


class Installations:
    """The workspaces that installed the app, and the pages where they do. Tables are made on first use."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        database: str,
        encryption_key: str = "",
        scopes: Sequence[str] = (),
        api_url: str = "https://slack.com/api/",
        redirect_url: str = "",
    ) -> None:
        from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
        from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings

        self.engine = engine_for(database)
        self.store = SealedStore(client_id, self.engine, Seal(key_for(encryption_key, database)))
        self.states = AsyncSQLAlchemyOAuthStateStore(_STATE_SECONDS, self.engine, logger=_log)
        self._made = asyncio.Lock()
        self._ready = False
        self._renewing: dict[str, asyncio.Lock] = {}
        self._not_before: dict[str, float] = {}
        self._rotator = AsyncTokenRotator(
            client=AsyncWebClient(base_url=api_url), client_id=client_id, client_secret=client_secret
        )
        authorize = "https://slack.com/oauth/v2/authorize"
        if not api_url.startswith("https://slack.com/"):
            authorize = api_url.rstrip("/").removesuffix("/api") + "/oauth/v2/authorize"
        self.flow = AsyncOAuthFlow(
            client=AsyncWebClient(base_url=api_url),
            logger=_log,
            settings=AsyncOAuthSettings(
                client_id=client_id,
                client_secret=client_secret,
                scopes=list(scopes),
                user_scopes=[],
                redirect_uri=redirect_url or None,
                install_path=INSTALL_PATH,
                redirect_uri_path=REDIRECT_PATH,
                authorization_url=authorize,
                installation_store=self.store,
                installation_store_bot_only=True,
                state_store=self.states,
                state_expiration_seconds=_STATE_SECONDS,
                logger=_log,
            ),
        )

    async def open(self) -> None:
        """Make the tables, if there are none."""
        async with self._made:
            if not self._ready:
                for tables in (self.store.metadata, self.states.metadata):
                    async with self.engine.begin() as connection:
                        await connection.run_sync(tables.create_all)
                self._ready = True

    async def token_for(self, team: str) -> str | None:
        """The bot's token in a workspace; None where the app is not installed."""
        await self.open()
        bot = await self.store.bot_of(team)
        if bot is not None and _ends_soon(bot):
            bot = await self._renewed(team, bot)
        return bot.bot_token if bot is not None else None

    async def _renewed(self, team: str, bot: Bot) -> Bot:
        """The bot with its next token, where the app's tokens are rotated; of several who ask, and processes, one fetches it."""
        async with self._renewing.setdefault(team, asyncio.Lock()):
            bot = await self.store.newest_bot_of(team) or bot
            if not _ends_soon(bot) or self._not_before.get(team, 0.0) > time.monotonic():
                return bot
            self._not_before[team] = time.monotonic() + _SECONDS_TO_RENEW_AGAIN
            try:
                found = await self._rotator.perform_bot_token_rotation(bot=bot, minutes_before_expiration=_MINUTES_LEFT)
            except (SlackTokenRotationError, aiohttp.ClientError, OSError, TimeoutError, AttributeError) as error:
                newest = await self.store.newest_bot_of(team)
                if newest is not None and newest.bot_refresh_token != bot.bot_refresh_token:
                    return newest
                _log.error("the token of the Slack workspace %s could not be renewed: %s", team, _why(error))
                return bot
            if found is None:
                return bot
            await self.store.renew(team, found)
            return found

    async def remove(self, team: str) -> None:
        """Forget a workspace: it revoked the token or removed the app."""
        await self.open()
        await self.store.forget(team)

    async def close(self) -> None:
        """Close the database."""
        await self.engine.dispose()


def _ends_soon(bot: Bot) -> bool:
    ends = bot.bot_token_expires_at
    return bool(bot.bot_refresh_token and ends is not None and ends < time.time() + _MINUTES_LEFT * 60)


def _why(error: Exception) -> str:
    """What went wrong, without what was sent: Slack's word for it, where there is one."""
    response = getattr(getattr(error, "api_error", None), "response", None)
    told = getattr(response, "data", None)
    return str(told.get("error")) if isinstance(told, dict) else type(error).__name__
