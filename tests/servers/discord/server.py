"""The whole server: REST, people, interactions, gateway."""

from __future__ import annotations

from aiohttp import web

from tests.servers.discord import channels, chat, commands, guilds, webhooks
from tests.servers.discord.gateway import Gateway
from tests.servers.discord.people import People
from tests.servers.discord.rest import Rest, Route

_ROUTES = [route for part in (guilds, chat, channels, webhooks, commands) for route in part.ROUTES]


class DiscordServer(People, Rest):
    """A Discord of its own, with one guild where the bot is."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway = Gateway(self)

    def routes_of(self) -> list[Route]:
        return _ROUTES

    def routes(self) -> list[web.RouteDef]:
        """What runs on the server's port."""
        return [*self.rest_routes(), *self.gateway.routes()]
