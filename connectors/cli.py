"""The command line: `frontdesk ...`. It only declares; the work is in `connectors.commands`, imported when it is needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from connectors.commands.options import Options
from connectors.declaring import PATH, end_quietly_when_stopped, everywhere, run_work
from connectors.declaring_index import knowledge

TURN_STATES = [
    "queued",
    "running",
    "decided",
    "answered",
    "handed_off",
    "merged",
    "stopped",
    "withdrawn",
    "failed",
    "quiet",
]
"""As in `agent.ledger`, which is not imported for --help."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="frontdesk", prog_name="frontdesk")
@click.option("--debug", is_flag=True, help="Show the full error when something unexpected happens.")
@everywhere
@click.pass_context
def frontdesk(context: click.Context, debug: bool) -> None:
    """Answer customers from your documents, with citations, and hand over to a person when that is better.

    New here? Type: frontdesk demo
    """
    context.ensure_object(Options).debug = debug


@frontdesk.command()
@everywhere
@click.pass_obj
def demo(options: Options) -> None:
    """Load a sample knowledge base, ask it some questions, then chat. Needs no key, no server, no account."""
    from connectors.commands.answering import demo

    run_work(demo(options))


@frontdesk.command()
@everywhere
@click.pass_obj
def chat(options: Options) -> None:
    """Chat with the agent over your documents."""
    from connectors.commands.answering import chat

    run_work(chat(options))


@frontdesk.command()
@click.argument("question")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def ask(options: Options, question: str, as_json: bool) -> None:
    """Ask one question. A QUESTION of - is read from standard input."""
    from connectors.commands.answering import ask

    if question == "-":
        question = sys.stdin.buffer.read().decode("utf-8", "replace")
    run_work(ask(options, question, as_json=as_json))


@frontdesk.command()
@click.argument("query", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many to find.")
@click.option("--audience", multiple=True, help="Search documents for this audience, too. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--batch", type=PATH, help='Read lines {"id", "text"} from a file, write lines {"id", "documents"}.')
@everywhere
@click.pass_obj
def search(
    options: Options, query: str | None, limit: int, audience: tuple[str, ...], as_json: bool, batch: Path | None
) -> None:
    """Show which passages are found for QUERY, and why."""
    from connectors.commands.knowledge.searching import search, search_batch

    if (query is None) == (batch is None):
        raise click.UsageError("Give either a QUERY or --batch FILE.")
    if batch is not None:
        run_work(search_batch(options, batch, limit, audience))
    else:
        run_work(search(options, query or "", limit, audience, as_json=as_json))


@frontdesk.command("run")
@everywhere
@click.pass_obj
def run_all(options: Options) -> None:
    """Answer customers on Slack and Discord, until stopped. Needs tokens: see docs/slack.md and docs/discord.md."""
    end_quietly_when_stopped()
    from connectors.commands.run import run

    sys.exit(run(options))


@frontdesk.command()
@everywhere
@click.pass_obj
def worker(options: Options) -> None:
    """Help `frontdesk run` on another process or machine to answer. Needs Postgres: docs/running.md."""
    end_quietly_when_stopped()
    from connectors.commands.run import run

    sys.exit(run(options, listening=False))


@frontdesk.group(invoke_without_command=True)
@click.option("--state", type=click.Choice(TURN_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_context
def turns(context: click.Context, state: str | None, limit: int, as_json: bool) -> None:
    """List what was asked, the newest first: answered, waiting, or failed."""
    if context.invoked_subcommand is None:
        from connectors.commands.turns import turns

        run_work(turns(context.obj, state=state, limit=limit, as_json=as_json))


@turns.command("retry")
@click.argument("turn", metavar="ID")
@everywhere
@click.pass_obj
def retry_turn(options: Options, turn: str) -> None:
    """Answer a turn that failed after all. `frontdesk turns --state failed` lists them with their IDs."""
    from connectors.commands.turns import retry

    run_work(retry(options, turn))


@frontdesk.group(invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Those that are resolved, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_context
def tickets(context: click.Context, everything: bool, as_json: bool) -> None:
    """List what was handed to a person."""
    if context.invoked_subcommand is None:
        from connectors.commands.tickets import tickets

        run_work(tickets(context.obj, everything=everything, as_json=as_json))


@tickets.command("show")
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def show_ticket(options: Options, number: int, as_json: bool) -> None:
    """Show the ticket with the number N."""
    from connectors.commands.tickets import show

    run_work(show(options, number, as_json=as_json))


@tickets.command("resolve")
@click.argument("number", metavar="N", type=click.IntRange(1))
@everywhere
@click.pass_obj
def resolve_ticket(options: Options, number: int) -> None:
    """Close the ticket with the number N; the agent answers in its conversation again."""
    from connectors.commands.tickets import resolve

    run_work(resolve(options, number))


@frontdesk.command()
@click.argument("person")
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@everywhere
@click.pass_obj
def erase(options: Options, person: str, sure: bool) -> None:
    """Remove everything that is stored of PERSON (slack:T0123ABCD/U0123ABCD, or discord:USER)."""
    from connectors.commands.erase import erase

    run_work(erase(options, person, sure=sure))


@frontdesk.command()
@click.option("--days", type=click.IntRange(1, 36_500), required=True, help="How many days to keep.")
@everywhere
@click.pass_obj
def prune(options: Options, days: int) -> None:
    """Remove conversations that ended before so many days."""
    from connectors.commands.erase import prune

    run_work(prune(options, days))


@frontdesk.group()
def slack() -> None:
    """Set Slack up."""


@slack.command()
@click.option("--http", "url", default="", metavar="URL", help="Events over HTTP to this public https:// address.")
@click.option("--name", default="", help="The app's name in Slack (default: `company`).")
@click.option("--oauth", is_flag=True, help="To be installed into many workspaces; goes with --http.")
@click.option("--legacy", is_flag=True, help="For workspaces that do not have Slack's agent view yet.")
@everywhere
@click.pass_obj
def manifest(options: Options, url: str, name: str, oauth: bool, legacy: bool) -> None:
    """Print the manifest to make the Slack app from: api.slack.com/apps, Create New App, From a manifest."""
    from connectors.commands.slack import manifest

    manifest(options, url=url, name=name, legacy=legacy, oauth=oauth)


@frontdesk.group()
def discord() -> None:
    """Set Discord up."""


@discord.command()
@click.option(
    "--application", default="", metavar="ID", help="The application's id (default: Discord is asked by the token)."
)
@everywhere
@click.pass_obj
def invite(options: Options, application: str) -> None:
    """Print the link that brings the bot into a server, what it may do there, and which intents to switch on."""
    from connectors.commands.discord import invite

    run_work(invite(options, application=application))


frontdesk.add_command(knowledge)


@frontdesk.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models there are presets for, and those in use."""
    if context.invoked_subcommand is None:
        from connectors.commands.models import models

        run_work(models(context.obj, as_json=as_json))


@models.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def check_models(options: Options, names: tuple[str, ...], as_json: bool) -> None:
    """Send a tiny call through each model in use, and say what works: stream, JSON, tools, usage.

    A NAME is a model as FRONTDESK_MODEL names it, or a role (answer, rewrite, triage, judge, summarise).
    """
    from connectors.commands.models import check

    sys.exit(run_work(check(options, names, as_json=as_json)))


@frontdesk.command()
@click.option("--models", "names", required=True, metavar="A,B", help="The models to compare, separated by commas.")
@click.argument("cases", type=PATH)
@click.option("--html", type=PATH, help="Write a page to read.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many cases.")
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Cases at once, for each model."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def compare(
    options: Options, names: str, cases: Path, html: Path | None, limit: int | None, concurrency: int, as_json: bool
) -> None:
    """Answer the questions of CASES (JSONL) with several models, and show the answers and their cost side by side."""
    from connectors.commands.compare import compare

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    run_work(compare(options, chosen, cases, html=html, as_json=as_json, limit=limit, concurrency=concurrency))


@frontdesk.command()
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="How many days back.")
@click.option("--by", default="day,role,model", show_default=True, help="What to add up by: day, role, model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def usage(options: Options, days: int, by: str, as_json: bool) -> None:
    """Show the tokens, cost and latency of model calls."""
    from connectors.commands.usage import usage

    columns = tuple(one.strip() for one in by.split(",") if one.strip())
    if not columns or set(columns) - {"day", "role", "model"}:
        raise click.UsageError("--by takes day, role and model, separated by commas.")
    run_work(usage(options, days=days, by=columns, as_json=as_json))


@frontdesk.command()
@click.argument("directory", type=PATH)
def init(directory: Path) -> None:
    """Write a starter into DIRECTORY: settings, .env.example and a documents folder."""
    from connectors.commands.setup import init

    init(directory)


@frontdesk.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def doctor(options: Options, as_json: bool) -> None:
    """Check what is set up; for each failing line, say what to type to mend it."""
    from connectors.commands.setup import doctor

    sys.exit(run_work(doctor(options, as_json=as_json)))


def reference() -> str:
    """The --help of every command, as Markdown, for docs/commands.md."""
    lines: list[str] = []

    def add(command: click.Command, path: str) -> None:
        with click.Context(command, info_name=path, terminal_width=100, max_content_width=100) as context:
            lines.extend([f"## {path}", "", "```", command.get_help(context), "```", ""])
            if isinstance(command, click.Group):
                for name in command.list_commands(context):
                    add(command.commands[name], f"{path} {name}")

    add(frontdesk, "frontdesk")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 error, 2 wrong usage, 130 interrupted."""
    _quieten()
    options = Options()
    try:
        frontdesk.main(arguments, prog_name="frontdesk", standalone_mode=False, obj=options)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("\nStopped.", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone (`frontdesk ... | head`); nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    # The last place where an error can be told to the person at the terminal in words.
    except Exception as error:
        if options.debug:
            raise
        sys.exit(_told(error))


def _told(error: Exception) -> int:
    from knowledge.errors import FrontdeskError

    if isinstance(error, FrontdeskError):
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(  # noqa: T201
        f"Error: something unexpected went wrong ({type(error).__name__}: {str(error)[:300]}).\n"
        "To see where, run it again as: frontdesk --debug ...",
        file=sys.stderr,
    )
    return 1


def _quieten() -> None:
    """Before any library is loaded: nothing may report to its maker, and output must never fail on a character."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["ANONYMIZED_TELEMETRY"] = "False"
    os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    main()
