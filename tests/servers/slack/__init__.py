"""A local Slack, as strict as Slack's own documentation, for the real slack_sdk and slack_bolt."""

from tests.servers.running import serving as serving
from tests.servers.slack.deliveries import Delivery as Delivery
from tests.servers.slack.server import SlackServer as SlackServer
from tests.servers.slack.state import SCOPES as SCOPES
from tests.servers.slack.state import Team as Team
from tests.servers.slack.watching import Seen as Seen
