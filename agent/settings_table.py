"""The rows of the table of settings: each has a name, a default and a help text. `agent.settings` reads them."""

from __future__ import annotations

from pathlib import Path

from agent.rooms import ANSWERING
from agent.settings_platforms import PLATFORMS
from agent.settings_row import ADDRESS, Setting

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
        "Where the staff hear of hand-offs, of whichever platform: `slack:T1/C9` or `discord:1/9`, or `C9` when there is one "
        "workspace. It may also be written as `channel` in a table `[staff]` of frontdesk.toml.",
        "slack:T0123ABCD/C0123ABCD",
        pattern=r"(?:[a-z][a-z0-9_-]*:[^/\s]+/)?[^/\s:]+",
        form="a channel such as slack:T1/C9, or C9",
    ),
    Setting(
        "staff_members",
        tuple,
        (),
        "Who is staff, besides those who are in the staff channel: ids such as `U1`, or `slack:T1/U1` for one workspace only "
        "(in Discord: the server). In `[staff]` it is `members`.",
        "U0123ABCD, slack:T0123ABCD/U0456EFGH",
        pattern=r"(?:[a-z][a-z0-9_-]*:[^/\s]+/)?[^/\s:]+",
        form="people's ids, such as U1 or slack:T1/U1",
    ),
    Setting(
        "staff_roles",
        tuple,
        (),
        "Discord: the roles whose members are staff: ids such as `456`, or `discord:1/456` for one server only. In `[staff]` it "
        "is `roles`.",
        "discord:1097531864209752064/1097531864209752101",
        pattern=r"(?:discord:[0-9]{1,20}/)?[0-9]{1,20}",
        form="ids of roles, such as 456 or discord:1/456",
    ),
    Setting(
        "staff_admins",
        tuple,
        (),
        "Who may change how a channel is answered, besides the workspace's own admins (in Discord: who may manage the server). "
        "In `[staff]` it is `admins`.",
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
    *PLATFORMS,
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
