"""A local Discord, as strict as Discord's own documentation, for the real discord.py.

`with serving(DiscordServer()) as discord:` runs it on a free port; `discord.http.Route.BASE = discord.api_url` leads discord.py
there. Ids are texts. Every method can be called from the test's thread.

Places: `guild` (the first guild), `add_guild`, `add_user`, `join`, `leave`, `add_role`, `change_role`, `bot_role`, `add_channel`,
`add_forum`, `delete_channel`, `dm`, `permit` and `overwrite` (permissions in a channel), `kick_bot`, `invite_bot`, `archive`,
`lock_thread`, `block_dms`.
People: `mention`, `say`, `forward`, `post`, `start_thread`, `add_to_thread`, `edit`, `delete`, `delete_many`, `unfurl`,
`use_emoji`; `slash`, `autocomplete`, `context_menu`, `click`, `submit` (each an `Asked`); `system_message`, `say_as_bot`,
`say_by_webhook`.
Seeing: `visible`, `ours`, `ephemeral`, `message` (each of `Seen`), `thread_from`, `tags_of`, `typed`, `wait_for`, `called`,
`calls`, `notified` (whom messages of the bot would have pinged), `unfurled` (links whose pages would have been shown).
Disturbing: `faults.append(Fault(...))`, `limits["create"] = (5, 5.0)`, `rates.others`, `rates.each_second`, `nonce_seconds`,
`token_seconds`, `response_seconds`, `attachment_seconds`, `message_content_allowed`, `shards`, `session_start`, all of `gateway`.
`violations`: what Discord's documentation forbids or would punish. Tests end with `assert discord.violations == []`.
"""

from tests.servers.discord.interactions import Asked as Asked
from tests.servers.discord.server import DiscordServer as DiscordServer
from tests.servers.discord.state import Call as Call
from tests.servers.discord.state import Fault as Fault
from tests.servers.discord.state import Notice as Notice
from tests.servers.discord.watching import Seen as Seen
from tests.servers.running import serving as serving
