"""The rows of the table of settings: each has a name, a default and a help text. `agent.settings` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.rooms import ANSWERING

PREFIX = "FRONTDESK_"
_PORT = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ADDRESS = rf"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):{_PORT}"
"""HOST:PORT; an IPv6 host in brackets."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `kind` is str, int, float, bool, Path or tuple (several names); `choices` limits a str.

    `per_channel`: it may be set anew for a channel, in the table `[channels."..."]` of `frontdesk.toml`.
    """

    name: str
    kind: type
    default: Any
    help: str
    example: str = ""
    choices: tuple[str, ...] = ()
    minimum: float = 0
    secret: bool = False
    per_channel: bool = False
    pattern: str = ""
    """What a str, or each of several names, has to look like, and"""
    form: str = ""
    """what that is in words."""
    variable: str = ""
    """Its name in `.env` and the environment: FRONTDESK_ and its name, if it has none that its users know already."""

    def __post_init__(self) -> None:
        if not self.variable:
            object.__setattr__(self, "variable", PREFIX + self.name.upper())


TABLE: tuple[Setting, ...] = (
    Setting(
        "model",
        str,
        "",
        "Which model answers: a preset (`qwen`, `deepseek`, `openrouter:qwen/qwen3.8-flash`, `ollama:qwen3.5:9b`), a server "
        "(`http://host:8000/v1#model`), or `quotes`, which needs no model and repeats the documents' own words. Several, "
        "separated by commas, are tried in order. Unset: `qwen` if DASHSCOPE_API_KEY is set, else `quotes`.",
        "qwen",
        per_channel=True,
    ),
    Setting(
        "model_answer",
        str,
        "",
        "The models that write answers, if not those of `model`.",
        "qwen,deepseek,ollama:qwen3.5:9b,quotes",
        per_channel=True,
    ),
    Setting(
        "model_rewrite",
        str,
        "",
        "The models that make follow-ups stand alone, if not those of `model`.",
        "qwen:qwen-flash",
        per_channel=True,
    ),
    Setting(
        "model_triage",
        str,
        "",
        "The models that sort messages before they are answered. Unset: rules do, and the answering model in the same call.",
        "qwen:qwen-flash",
        per_channel=True,
    ),
    Setting(
        "model_judge",
        str,
        "",
        "The models that check each answer against its sources before it is sent; what does not hold is handed to a person. "
        "Best of another family than the one that answers. Unset: the checks that code can do.",
        "deepseek",
        per_channel=True,
    ),
    Setting(
        "model_summarise",
        str,
        "",
        "The models that sum up long conversations, so that less is sent, if not those of `model`.",
        "qwen:qwen-flash",
        per_channel=True,
    ),
    Setting(
        "model_vision",
        str,
        "",
        "The models that look at pictures which customers send. Unset: pictures are not looked at, and the customer is told.",
        "qwen:qwen3-vl-flash",
        per_channel=True,
    ),
    Setting(
        "model_rerank",
        str,
        "",
        "A model that puts what was found into a better order: `qwen`, `vllm:MODEL`, `llamacpp:MODEL` or a server with a "
        "`/rerank` path. Unset: the order of vectors and keywords.",
        "qwen",
    ),
    Setting("model_api_key", str, "", "The key for a model given by its address.", secret=True),
    Setting(
        "qwen_region",
        str,
        "intl",
        "Where the Alibaba key belongs, as keys work in one region only: `intl`, `us`, `cn`, `hk`, or a workspace and its "
        "region (`ws-1a2b.eu-central-1`; `trial.eu-central-1` for tests).",
        "intl",
        pattern=r"intl|us|cn|hk|[A-Za-z0-9-]{1,63}\.(?:ap-southeast-1|us-east-1|cn-beijing|cn-hongkong|ap-northeast-1|eu-central-1)",
        form="one of intl, us, cn, hk, or WORKSPACE.REGION",
    ),
    *(
        Setting(
            f"budget_{scope}",
            str,
            "",
            f"What models may cost {where}: `0.50` (USD), or `200000 tokens`. A call that would cost more is not made.",
            example,
            pattern=r"(?i:\$?\s*\d[\d_]*(?:(?:\.\d+)?\s*(?:usd)?|\s*tokens?))",
            form="an amount of money such as 0.50, or of tokens such as 200000 tokens",
        )
        for scope, where, example in (
            ("conversation", "in one conversation", "0.05"),
            ("person", "for one person in a day (UTC)", "0.20"),
            ("channel", "in one channel in a day", "2.00"),
            ("day", "in a day in all", "20"),
        )
    ),
    Setting("max_answer_tokens", int, 700, "The longest answer, in the model's tokens.", "700", minimum=50),
    Setting("first_token_seconds", float, 8.0, "How long a model may take to begin its answer.", "8", minimum=0.1),
    Setting("idle_seconds", float, 15.0, "How long a model may pause within its answer.", "15", minimum=0.1),
    Setting(
        "total_seconds",
        float,
        30.0,
        "How long a model may take for a whole answer. Raise it for a slow local model.",
        "30",
        minimum=0.1,
    ),
    Setting(
        "embedder",
        str,
        "minilm",
        "What makes the vectors for search: `minilm` (on this machine), a preset with a model (`qwen`, "
        "`ollama:nomic-embed-text`), a server (`http://host:8000/v1#model`), or `none` for search by keywords only.",
        "minilm",
    ),
    Setting("embedder_api_key", str, "", "The key for an embedder given by its address.", secret=True),
    Setting(
        "embedder_query_prefix",
        str,
        "",
        "Text put before every question for embedders that want it, such as `Instruct: ... Query: `.",
    ),
    Setting("embedder_dimensions", int, 0, "Length of vectors to ask the embedder for; 0 leaves it to the server."),
    Setting(
        "data", Path, None, "Where frontdesk keeps its state. Default: the platform's user data directory.", "./data"
    ),
    Setting(
        "company",
        str,
        "",
        "The name of the company or product that customers are helped with.",
        "Larkstay",
        per_channel=True,
    ),
    Setting(
        "persona",
        str,
        "",
        "How the agent sounds, in a few words for the model that writes. What it may say stays as it is.",
        "Warm and brief, no exclamation marks.",
        per_channel=True,
    ),
    Setting(
        "answer_language",
        str,
        "",
        "The language of answers, by its English name. Unset: that of the question.",
        "german",
        per_channel=True,
    ),
    Setting(
        "language",
        str,
        "",
        "The language of the documents, by its English name. Words are compared by their stems, and a model puts questions in "
        "other languages into it before they are looked up. Unset: told from the documents.",
        "german",
    ),
    Setting(
        "handoff_message",
        str,
        "A person from our team will take it from here, and answer you in this conversation.",
        "What a customer is told about what happens next when a person takes over. Say when they will hear.",
        "Our team answers here on weekdays from 9 to 17 h.",
        per_channel=True,
    ),
    Setting(
        "offline",
        bool,
        False,
        "Forbid everything that would leave this machine: models and embedders elsewhere, fetching the embedding model.",
        "false",
    ),
    Setting(
        "answering",
        str,
        "mention",
        "What the agent answers in a channel: `mention` (when it is mentioned), `every-question` (also questions that nobody "
        "addressed to it), `only-when-sure` (those only when the documents answer them; else it stays silent), `off`. For a "
        "channel it may also be written `mode`.",
        "mention",
        choices=ANSWERING,
        per_channel=True,
    ),
    Setting(
        "audience",
        tuple,
        ("public",),
        "Whose documents are searched, by the `audience` in their front matter. Where someone from outside reads along it is "
        "`public`, whatever is set.",
        "public, staff",
        pattern=r"\S{1,100}",
        form="one or more audiences",
        per_channel=True,
    ),
    Setting(
        "staff_channel",
        str,
        "",
        "Where the staff hear of hand-offs: `slack:T1/C9`, or `C9` when there is one workspace. It may also be written as "
        "`channel` in a table `[staff]` of frontdesk.toml.",
        "slack:T0123ABCD/C0123ABCD",
        pattern=r"(?:[a-z][a-z0-9_-]*:[^/\s]+/)?[^/\s:]+",
        form="a channel such as slack:T1/C9, or C9",
    ),
    Setting(
        "staff_members",
        tuple,
        (),
        "Who is staff, besides those who are in the staff channel: ids such as `U1`, or `slack:T1/U1` for one workspace only. "
        "In `[staff]` it is `members`.",
        "U0123ABCD, slack:T0123ABCD/U0456EFGH",
        pattern=r"(?:[a-z][a-z0-9_-]*:[^/\s]+/)?[^/\s:]+",
        form="people's ids, such as U1 or slack:T1/U1",
    ),
    Setting(
        "staff_admins",
        tuple,
        (),
        "Who may change how a channel is answered, besides the workspace's own admins. In `[staff]` it is `admins`.",
        "U0123ABCD",
        pattern=r"(?:[a-z][a-z0-9_-]*:[^/\s]+/)?[^/\s:]+",
        form="people's ids, such as U1 or slack:T1/U1",
    ),
    Setting(
        "answer_within_minutes",
        int,
        30,
        "A question that could not be answered for so long, as when frontdesk was down, goes to the staff instead.",
        "30",
        minimum=1,
    ),
    Setting(
        "retention_days",
        int,
        0,
        "Conversations that ended so many days ago are removed, once a day, by `frontdesk run`. 0: never.",
        "365",
    ),
    Setting(
        "pages_allow",
        tuple,
        (),
        "Web pages are only fetched from public addresses, and from these: hosts, addresses or networks of your own.",
        "wiki.internal.example.com, 10.20.0.0/16",
        pattern=r"[\w.:/*-]+",
        form="hosts, addresses or networks, such as wiki.internal.example.com or 10.20.0.0/16",
    ),
    Setting(
        "pages_recheck_hours",
        int,
        24,
        "How often `frontdesk run` looks again at the web pages that documents come from, in hours. 0: never.",
        "24",
    ),
    Setting(
        "person_messages_per_minute",
        int,
        300,
        "Messages of one person in a minute; those beyond are not answered, and the person is told once.",
        "300",
        minimum=1,
    ),
    Setting(
        "conversation_messages_per_half_minute",
        int,
        20,
        "Messages of one person in one conversation in half a minute; the same holds for those beyond.",
        "20",
        minimum=1,
    ),
    Setting(
        "queue_limit",
        int,
        2000,
        "Questions that may wait at once. Beyond it customers are told so, and staff get a ticket.",
        minimum=1,
    ),
    Setting("turns_at_once", int, 100, "Questions that one process answers at the same time.", minimum=1),
    Setting(
        "slack_bot_token",
        str,
        "",
        "Slack: the bot token of the one workspace, from OAuth & Permissions on api.slack.com/apps.",
        variable="SLACK_BOT_TOKEN",
        pattern=r"(?:xoxe\.)?xoxb-\S+",
        form="a bot token, which begins with xoxb-",
        secret=True,
    ),
    Setting(
        "slack_app_token",
        str,
        "",
        "Slack: the app-level token with connections:write, for Socket Mode, which needs no public address.",
        variable="SLACK_APP_TOKEN",
        pattern=r"xapp-\S+",
        form="an app-level token, which begins with xapp-",
        secret=True,
    ),
    Setting(
        "slack_signing_secret",
        str,
        "",
        "Slack: the signing secret, for events over HTTP. Not needed for Socket Mode.",
        variable="SLACK_SIGNING_SECRET",
        secret=True,
    ),
    Setting(
        "slack_client_id",
        str,
        "",
        "Slack: the client id, to be installed into many workspaces (OAuth). It goes with the two below.",
        variable="SLACK_CLIENT_ID",
        secret=True,
    ),
    Setting(
        "slack_client_secret",
        str,
        "",
        "Slack: the client secret that belongs to it.",
        variable="SLACK_CLIENT_SECRET",
        secret=True,
    ),
    Setting(
        "encryption_key",
        str,
        "",
        'Encrypts the tokens of workspaces that installed the app. Make one: python -c "from cryptography.fernet import '
        'Fernet; print(Fernet.generate_key().decode())".',
        pattern=r"[A-Za-z0-9_-]{43}=(?:,[A-Za-z0-9_-]{43}=)*",
        form="a Fernet key (44 characters of URL-safe base64), or several with commas: the first encrypts, all decrypt",
        secret=True,
    ),
    Setting(
        "slack_api_url",
        str,
        "https://slack.com/api/",
        "Where Slack's API is: another address for GovSlack, or for a local server in tests.",
        "https://slack-gov.com/api/",
        variable="SLACK_API_URL",
        pattern=r"https?://[^\s/]\S*",
        form="an address that begins with https:// or http://",
    ),
    Setting(
        "slack_public_url",
        str,
        "",
        "Slack: the public https:// address of this server, to which Slack sends people back who installed the app (OAuth).",
        "https://support.example.com",
        pattern=r"https?://[^\s/]\S*",
        form="an address that begins with https:// or http://",
    ),
    Setting(
        "prompts",
        tuple,
        (),
        "Questions that are suggested to people who open the agent, at most four: a list in frontdesk.toml.",
        "How do I cancel?, Where is my order?",
        pattern=r"\S.{0,299}",
        form="questions of at most 300 characters",
    ),
    Setting(
        "slack_commands",
        tuple,
        ("/support", "/handoff"),
        "Slack: the names of the two slash commands: to ask, and to hand over to a person.",
        "/support, /handoff",
        pattern=r"/[a-z0-9_-]{1,31}",
        form="slash commands, such as /support",
    ),
    Setting(
        "slack_http_address",
        str,
        "0.0.0.0:3000",
        "Slack: where signed events are received when there is no app-level token. Put a proxy with TLS before it.",
        "0.0.0.0:3000",
        pattern=ADDRESS,
        form="HOST:PORT",
    ),
    Setting(
        "health_address",
        str,
        "127.0.0.1:8080",
        "Where `frontdesk run` serves /healthz, /readyz and /metrics: HOST:PORT (port 0: any that is free), or `off`.",
        "127.0.0.1:8080",
        pattern=rf"off|{ADDRESS}",
        form="HOST:PORT, or off",
    ),
    Setting(
        "log_format",
        str,
        "text",
        "How `frontdesk run` writes its log to standard error: lines for people, or one JSON object in each.",
        "text",
        choices=("text", "json"),
    ),
    Setting(
        "database_url",
        str,
        "",
        "A Postgres database for documents, conversations, tickets and the queue, which several processes can share. Unset: "
        "SQLite in the data directory.",
        "postgresql://USER:PASSWORD@HOST:5432/DATABASE",
        variable="DATABASE_URL",
        pattern=r"postgres(?:ql)?://\S+",
        form="the address of a Postgres database: postgresql://USER:PASSWORD@HOST:5432/DATABASE",
        secret=True,
    ),
    Setting(
        "chroma_url",
        str,
        "",
        "A Chroma server (`chroma run`) for the vectors, which several machines can share. Unset: Chroma in the data directory, "
        "which needs no server.",
        "http://127.0.0.1:8000",
        variable="CHROMA_URL",
        pattern=r"https?://[^\s/@]+/?",
        form="the address of a Chroma server: http://HOST:PORT or https://HOST",
    ),
    Setting(
        "chroma_token",
        str,
        "",
        "The key for the Chroma server, if it, or a proxy before it, asks for one.",
        variable="CHROMA_TOKEN",
        secret=True,
    ),
    Setting("chroma_tenant", str, "default_tenant", "The tenant on the Chroma server.", variable="CHROMA_TENANT"),
    Setting(
        "chroma_database", str, "default_database", "The database on the Chroma server.", variable="CHROMA_DATABASE"
    ),
)
