"""What the operator sets for Slack."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.errors import SettingsError

API_URL = "https://slack.com/api/"


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """How Slack is reached: one workspace by `bot_token`, or many by OAuth; Socket Mode by `app_token`, else signed HTTP."""

    bot_token: str = field(default="", repr=False)
    app_token: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    encryption_key: str = field(default="", repr=False)
    """Fernet keys, separated by commas, for the tokens of many workspaces."""
    database: str = field(default="sqlite:///data/frontdesk.sqlite3", repr=False)
    public_url: str = ""
    """This server's https:// address, for OAuth's way back."""
    api_url: str = API_URL
    host: str = "0.0.0.0"
    port: int = 3000
    path: str = "/slack/events"
    staff: tuple[str, ...] = ()
    """Ids of people: `U1` or `slack:T1/U1`."""
    staff_channel: str = ""
    """A channel whose members are staff: `C1` or `slack:T1/C1`."""
    admins: tuple[str, ...] = ()
    """Who may set channels besides the workspace's admins."""
    commands: tuple[str, str] = ("/support", "/handoff")
    """To ask, and to be handed over."""
    prompts: tuple[tuple[str, str], ...] = ()
    """Titles and questions to suggest."""
    company: str = ""
    follow: bool = True
    """Whether the app reads the channels it is in, or only what is said to it."""
    patience: float = 1.0
    """Seconds that Slack has to say who somebody is."""
    ping_seconds: float = 10.0
    backoff: tuple[float, float] = (1.0, 60.0)

    def check(self) -> None:
        """Raise `SettingsError` when it is not enough to reach Slack."""
        if not self.bot_token and not (self.client_id and self.client_secret):
            raise SettingsError(
                "no token for Slack",
                "Set SLACK_BOT_TOKEN (xoxb-...), or SLACK_CLIENT_ID and SLACK_CLIENT_SECRET for many workspaces.",
            )
        if self.bot_token and not self.bot_token.startswith(("xoxb-", "xoxe.xoxb-")):
            raise SettingsError("SLACK_BOT_TOKEN is no bot token", "It begins with xoxb-; see OAuth & Permissions.")
        if self.app_token and not self.app_token.startswith("xapp-"):
            raise SettingsError("SLACK_APP_TOKEN is no app-level token", "It begins with xapp-; see Basic Information.")
        if not self.app_token and not self.signing_secret:
            raise SettingsError(
                "no way to hear Slack",
                "Set SLACK_APP_TOKEN (xapp-...) for Socket Mode, or SLACK_SIGNING_SECRET for HTTP.",
            )
