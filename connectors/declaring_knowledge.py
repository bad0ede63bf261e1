"""The command line of the knowledge base: `frontdesk knowledge ...`. It only declares, as `connectors.cli` does."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connectors.commands.options import Options
from connectors.declaring import PATH, Command, everywhere, run_work

if TYPE_CHECKING:
    from connectors.commands.knowledge.opened import Signature
    from connectors.commands.knowledge.writing import Fields

DUE = 3
"""The exit status of `stale` when a document is due: neither done (0) nor an error (1)."""
STATES = ["draft", "published", "retired"]

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_publish = click.option("--publish", is_flag=True, help="Let customers see it at once, instead of keeping a draft.")
_confirm = click.option(
    "--confirm", "confirmed", is_flag=True, help="Publish it although it reads like instructions to a machine."
)


def _signed(command: Command) -> Command:
    """Take --by and --why."""
    command = click.option("--why", default="", metavar="TEXT", help="Why, for the history.")(command)
    return click.option("--by", default="", metavar="NAME", help="Who does it (default: who is logged in).")(command)


def _described(command: Command) -> Command:
    """Take what may be said about a document."""
    day = click.DateTime(["%Y-%m-%d"])
    command = click.option("--review-by", type=day, metavar="DATE", help="When to look at it again, 2027-01-31.")(
        command
    )
    command = click.option("--tag", "tags", multiple=True, metavar="NAME", help="A tag. May be repeated.")(command)
    command = click.option("--audience", metavar="NAME", help="Who may see it (a new one: public).")(command)
    return click.option("--title", metavar="TEXT", help="Its title.")(command)


def _signature(by: str, why: str) -> Signature:
    from connectors.commands.knowledge.opened import Signature

    return Signature(by, why)


def _fields(values: dict[str, Any]) -> Fields:
    from connectors.commands.knowledge.writing import Fields

    review_by: datetime | None = values["review_by"]
    if "," in (values["audience"] or ""):
        raise click.UsageError("--audience takes one name: a document has one audience.")
    return Fields(
        values.get("document_id"),
        values["title"],
        values["audience"],
        review_by.date() if review_by is not None else None,
        values["tags"],
    )


@click.group()
def knowledge() -> None:
    """Bring documents in, change them, and look at what is there."""


@knowledge.command()
@click.argument("directory", type=PATH)
@click.option("--watch", is_flag=True, help="Go on, and bring in what changes, until stopped.")
@click.option("--allow-empty", is_flag=True, help="Remove everything that came from DIRECTORY if it holds no document.")
@click.option("--take", multiple=True, metavar="ID", help="Go by the file, whatever a person did to this document.")
@click.option("--take-all", is_flag=True, help="Go by the files, whatever people did to any document of theirs.")
@click.option("--confirm", multiple=True, metavar="FILE", help="Take this file although it speaks to a machine.")
@_signed
@_json
@everywhere
@click.pass_obj
def sync(
    options: Options,
    directory: Path,
    watch: bool,
    allow_empty: bool,
    take: tuple[str, ...],
    take_all: bool,
    confirm: tuple[str, ...],
    by: str,
    why: str,
    as_json: bool,
) -> None:
    """Make the knowledge base hold what DIRECTORY holds.

    New, changed and removed files are brought in. Reads Markdown, HTML, PDF, Word, text, and FAQ tables (CSV, JSON,
    JSONL). May be interrupted and run again at any time. Documents that a person has edited or retired stay so, and are
    named.
    """
    from connectors.commands.knowledge.syncing import Wish, follow, sync

    wish = Wish(allow_empty, frozenset(take), take_all, frozenset(confirm), " ".join(by.split()), why)
    run_work((follow if watch else sync)(options, directory, wish, as_json=as_json))


@knowledge.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE|URL...")
@click.option("--sitemap", is_flag=True, help="The URLs are sitemaps: take the pages that they list.")
@click.option("--id", "document_id", metavar="ID", help="Its id (default: the one it names, else from its name).")
@_described
@_publish
@_confirm
@click.option("--anyway", is_flag=True, help="Add it although another document says the same.")
@_signed
@_json
@everywhere
@click.pass_obj
def add(options: Options, /, files: tuple[str, ...], sitemap: bool, **values: Any) -> None:
    """Take in files, or pages from the web, as drafts.

    A page is looked at again from time to time, and what has changed on it is taken over; so are new pages of a sitemap.
    """
    pages = [one for one in files if one.lower().startswith(("http://", "https://"))]
    if pages and len(pages) < len(files):
        raise click.UsageError("Give either files or URLs.")
    if sitemap and not pages:
        raise click.UsageError("--sitemap is for URLs.")
    shared = {
        "publish": values["publish"],
        "confirmed": values["confirmed"],
        "twins": values["anyway"],
        "as_json": values["as_json"],
    }
    signature = _signature(values["by"], values["why"])
    if pages:
        if values["document_id"] and (len(pages) > 1 or sitemap):
            raise click.UsageError("--id is for one page.")
        from connectors.commands.knowledge.paging import add_pages

        if not run_work(add_pages(options, pages, _fields(values), signature, sitemap=sitemap, **shared)):
            sys.exit(1)
    else:
        from connectors.commands.knowledge.writing import add

        run_work(add(options, [Path(one) for one in files], _fields(values), signature, **shared))


@knowledge.command()
@click.argument("document", metavar="ID")
@click.option("--file", "file", type=PATH, help="Take the new text from this file; - is standard input.")
@_described
@click.option(
    "--base", type=click.IntRange(1), help="The revision that it was made from (default: what the file says)."
)
@_publish
@_confirm
@_signed
@_json
@everywhere
@click.pass_obj
def edit(options: Options, /, document: str, file: Path | None, base: int | None, **values: Any) -> None:
    """Change a document: in your editor, by a file, or by options.

    The editor is $EDITOR. A file without front matter replaces the text only. If somebody else has changed the
    document meanwhile, nothing is written, and you are told who, when and why.
    """
    from connectors.commands.knowledge.writing import edit

    run_work(
        edit(
            options,
            document,
            file,
            _fields(values),
            _signature(values["by"], values["why"]),
            base=base,
            publish=values["publish"],
            confirmed=values["confirmed"],
            as_json=values["as_json"],
        )
    )


@knowledge.command()
@click.argument("documents", nargs=-1, metavar="ID...")
@click.option("--revision", type=click.IntRange(1), help="This revision, instead of the newest.")
@click.option("--all", "everything", is_flag=True, help="Every draft there is.")
@_confirm
@_signed
@_json
@everywhere
@click.pass_obj
def publish(
    options: Options,
    documents: tuple[str, ...],
    revision: int | None,
    everything: bool,
    confirmed: bool,
    by: str,
    why: str,
    as_json: bool,
) -> None:
    """Let customers see drafts, and retired documents again."""
    if bool(documents) == everything:
        raise click.UsageError("Give either IDs or --all.")
    if revision is not None and len(documents) != 1:
        raise click.UsageError("--revision is for one document.")
    from connectors.commands.knowledge.writing import publish

    run_work(
        publish(
            options,
            documents,
            _signature(by, why),
            revision=revision,
            everything=everything,
            confirmed=confirmed,
            as_json=as_json,
        )
    )


@knowledge.command()
@click.argument("documents", nargs=-1, required=True, metavar="ID...")
@_signed
@_json
@everywhere
@click.pass_obj
def retire(options: Options, documents: tuple[str, ...], by: str, why: str, as_json: bool) -> None:
    """Take documents out of all answers, at once. Their history stays."""
    from connectors.commands.knowledge.writing import retire

    run_work(retire(options, documents, _signature(by, why), as_json=as_json))


@knowledge.command()
@click.argument("documents", nargs=-1, required=True, metavar="ID...")
@click.option("--before-newest", is_flag=True, help="Only what they said before: all revisions but the newest.")
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@_signed
@_json
@everywhere
@click.pass_obj
def erase(
    options: Options,
    documents: tuple[str, ...],
    before_newest: bool,
    sure: bool,
    by: str,
    why: str,
    as_json: bool,
) -> None:
    """Erase documents for good, with their history.

    Their text leaves the database, the search index and the answers that quote it; who erased it, when and why is kept.
    To take documents out of answers only, use `retire`.
    """
    from connectors.commands.knowledge.erasing import erase

    signature = _signature(by, why)
    work = erase(options, documents, signature, before_newest=before_newest, sure=sure, as_json=as_json)
    sys.exit(run_work(work))


@knowledge.command()
@click.argument("document", metavar="ID")
@click.argument("revision", type=click.IntRange(1))
@_publish
@_confirm
@_signed
@_json
@everywhere
@click.pass_obj
def restore(
    options: Options, document: str, revision: int, publish: bool, confirmed: bool, by: str, why: str, as_json: bool
) -> None:
    """Go back to an earlier REVISION of a document.

    Its text becomes a new revision, the newest one; nothing of what came between is lost.
    """
    from connectors.commands.knowledge.writing import restore

    signature = _signature(by, why)
    run_work(restore(options, document, revision, signature, publish=publish, confirmed=confirmed, as_json=as_json))


@knowledge.command("list")
@click.option("--all", "everything", is_flag=True, help="Retired documents, too.")
@click.option("--state", type=click.Choice(STATES), help="Those in one state only.")
@click.option("--audience", metavar="NAME", help="Those for one audience only.")
@click.option("--tag", metavar="NAME", help="Those with this tag only.")
@click.option("--erased", is_flag=True, help="Instead: what was erased, by whom, when and why.")
@_json
@everywhere
@click.pass_obj
def list_documents(
    options: Options,
    everything: bool,
    state: str | None,
    audience: str | None,
    tag: str | None,
    erased: bool,
    as_json: bool,
) -> None:
    """List the documents."""
    if erased:
        from connectors.commands.knowledge.erasing import list_erased

        run_work(list_erased(options, as_json=as_json))
        return
    from connectors.commands.knowledge.looking import list_documents

    states = frozenset({state}) if state else frozenset(STATES if everything else STATES[:2])
    run_work(list_documents(options, states=states, audience=audience, tag=tag, as_json=as_json))


@knowledge.command()
@click.argument("document", metavar="ID")
@click.option("--revision", type=click.IntRange(1), help="This revision, instead of what customers see.")
@click.option("--passages", is_flag=True, help="Show the passages it was split into.")
@_json
@everywhere
@click.pass_obj
def show(options: Options, document: str, revision: int | None, passages: bool, as_json: bool) -> None:
    """Show the document with this ID."""
    from connectors.commands.knowledge.looking import show

    run_work(show(options, document, revision, passages=passages, as_json=as_json))


@knowledge.command()
@click.argument("document", metavar="ID")
@_json
@everywhere
@click.pass_obj
def history(options: Options, document: str, as_json: bool) -> None:
    """Show who did what to a document, when and why."""
    from connectors.commands.knowledge.looking import history

    run_work(history(options, document, as_json=as_json))


@knowledge.command()
@click.argument("document", metavar="ID")
@click.argument("first", type=click.IntRange(1), required=False, metavar="[FROM]")
@click.argument("second", type=click.IntRange(1), required=False, metavar="[TO]")
@everywhere
@click.pass_obj
def diff(options: Options, document: str, first: int | None, second: int | None) -> None:
    """Show what differs between two revisions of a document.

    Without FROM and TO: what publishing the newest would change, else what was changed last.
    """
    from connectors.commands.knowledge.looking import diff

    run_work(diff(options, document, first, second))


@knowledge.command()
@click.option(
    "--within", type=click.IntRange(0, 3650), default=0, metavar="DAYS", help="Also those due in so many days."
)
@_json
@everywhere
@click.pass_obj
def stale(options: Options, within: int, as_json: bool) -> None:
    """List documents that are due for review, or whose page is gone.

    Exit status 3 when there are any.
    """
    from connectors.commands.knowledge.looking import stale

    if run_work(stale(options, within, as_json=as_json)):
        sys.exit(DUE)


@knowledge.command()
@click.argument("directory", type=PATH)
@click.option("--drafts", is_flag=True, help="The newest texts, instead of what customers see.")
@_json
@everywhere
@click.pass_obj
def export(options: Options, directory: Path, drafts: bool, as_json: bool) -> None:
    """Write the documents into DIRECTORY as Markdown.

    Each becomes a file with front matter. DIRECTORY is made, or empty, or of an earlier export, which is brought up
    to date.
    """
    from connectors.commands.knowledge.carrying import export

    run_work(export(options, directory, drafts=drafts, as_json=as_json))


@knowledge.command("import")
@click.argument("directory", type=PATH)
@click.option("--publish", is_flag=True, help="Let customers see them at once, instead of keeping drafts.")
@_confirm
@_signed
@_json
@everywhere
@click.pass_obj
def bring_in(
    options: Options, directory: Path, publish: bool, confirmed: bool, by: str, why: str, as_json: bool
) -> None:
    """Take in the Markdown files of DIRECTORY.

    They become drafts, as an export wrote them. A file that was made from an older revision than there is now does
    not replace it, and is named.
    """
    from connectors.commands.knowledge.carrying import bring_in

    signature = _signature(by, why)
    run_work(bring_in(options, directory, signature, publish=publish, confirmed=confirmed, as_json=as_json))


@knowledge.command()
@click.option(
    "--older-than", type=click.FloatRange(0), default=0.0, metavar="HOURS", help="Only those not looked at since."
)
@click.option("--forget", metavar="URL", help="Instead: no longer follow this sitemap.")
@_json
@everywhere
@click.pass_obj
def recheck(options: Options, older_than: float, forget: str | None, as_json: bool) -> None:
    """Look again at web pages, and for new ones in sitemaps.

    What has changed on the pages that documents come from is taken over. `frontdesk run` does so by itself, as often as
    `pages_recheck_hours` says.
    """
    from connectors.commands.knowledge.paging import forget as forget_sitemap
    from connectors.commands.knowledge.paging import recheck

    if forget is not None:
        if not run_work(forget_sitemap(options, forget)):
            sys.exit(1)
        return
    run_work(recheck(options, timedelta(hours=older_than), as_json=as_json))
