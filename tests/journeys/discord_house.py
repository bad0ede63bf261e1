"""A local Discord with people, a local model, and a `frontdesk run` that answers there: what journeys in Discord share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from connectors.discord.permissions import bits
from tests.journeys.house import BUTTON, PETS, QUESTION, Household
from tests.journeys.running import discord_token
from tests.servers.discord import DiscordServer, Seen, permissions, serving
from tests.servers.model_server import ModelServer

_EVERYONE = (
    *("view_channel", "send_messages", "send_messages_in_threads", "create_public_threads", "read_message_history"),
    "use_application_commands",
)


class DiscordHouse(Household):
    """A server with staff."""

    connected = "Discord: connected"

    def __init__(
        self, discord: DiscordServer, model: ModelServer, data: Path, config: str, settings: Mapping[str, str]
    ) -> None:
        self.discord = discord
        # The bot may do what the invite says, and people what they need, so that nothing works by a right of everyone's.
        discord.change_role(discord.guild, discord.guild, sum(permissions.BITS[name] for name in _EVERYONE))
        discord.change_role(discord.guild, discord.bot_role(), bits())
        self.eve = discord.add_user("eve")
        role = discord.add_role(discord.guild, "staff")
        discord.join(discord.guild, self.eve, [role])
        self.staff = discord.add_channel("staff", only_roles=[role])
        staff_channel = f"discord:{discord.guild}/{self.staff}"
        super().__init__(
            model, data, config, {"FRONTDESK_STAFF_CHANNEL": staff_channel, **discord_token(discord), **settings}
        )

    def person(self) -> str:
        """Somebody new in the server."""
        ann = self.discord.add_user("ann")
        self.discord.join(self.discord.guild, ann)
        return ann

    def ask(self, text: str = QUESTION) -> tuple[str, str, str]:
        """Somebody new mentions the agent in a new channel: who, where, and the message."""
        assert self.desk
        ann, room = self.person(), self.discord.add_channel("help")
        return ann, room, self.discord.say(ann, room, self.discord.mention(text))

    def replies(self, message: str) -> list[Seen]:
        """What the agent shows in the thread that was made from a message, or in a thread or post."""
        return self.discord.ours(message) if message in self.discord.channels else []

    def final(self, message: str, *words: str, number: int = 1, seconds: float = 20) -> list[Seen]:
        """The replies there, once so many are no drafts, and one has all these words."""

        def ended() -> list[Seen]:
            found = self.replies(message)
            shown = not words or any(all(word in one.text for word in words) for one in found)
            return found if shown and sum(is_final(one) for one in found) >= number else []

        try:
            found: list[Seen] = self.discord.wait_for(ended, seconds)
        except AssertionError as error:
            said = [(one.content[:80], one.labels) for one in self.replies(message)]
            log = self.running.errors[-3000:] if self.running is not None else ""
            raise AssertionError(f"{error}: no {words or number} in {said}\n{log}") from None
        return found

    def once(self, message: str, *words: str) -> Seen:
        """The only reply there, also after all that came before another answer."""
        self.final(message, *words)
        self.settle()
        (reply,) = self.replies(message)
        return reply

    def settle(self) -> None:
        """Wait until somebody else was answered: whatever came in before is heard by then."""
        _, _, message = self.ask(PETS)
        self.final(message, "Pets allowed")

    def told(self, words: str, seconds: float = 20) -> list[Seen]:
        """What the staff read about this, once they do."""

        def posts() -> list[Seen]:
            return [one for one in self.discord.ours(self.staff) if words in one.text]

        found: list[Seen] = self.discord.wait_for(posts, seconds)
        return found

    def unharmed(self) -> None:
        """What held in one test holds no more, and nobody was pinged, nothing unfurled, and nothing wrong sent to Discord."""
        discord = self.discord
        self.talking.go_on.set()
        discord.faults.clear()
        found = (discord.violations[:], discord.notified[:], discord.unfurled[:])
        for kept in (discord.violations, discord.notified, discord.unfurled):
            kept.clear()
        assert found == ([], [], [])


def is_final(reply: Seen) -> bool:
    """Whether it is no draft any more: the reply, or the words that a person takes over."""
    return BUTTON in reply.labels or "Solved" in reply.labels


@contextmanager
def discord_housing(
    synced: Path,
    folder: Path,
    settings: Mapping[str, str] | None = None,
    configure: Callable[[DiscordServer], str] = lambda discord: "",
) -> Iterator[DiscordHouse]:
    """A house with the documents in `synced`, that is empty at the end. `configure` makes its frontdesk.toml."""
    data = Path(shutil.copytree(synced, folder / "data"))
    with serving(DiscordServer()) as discord, serving(ModelServer()) as model:
        one = DiscordHouse(discord, model, data, configure(discord), settings or {})
        try:
            yield one
        finally:
            one.kill()
