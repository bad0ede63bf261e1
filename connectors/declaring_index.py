"""Declares the commands over the search index: `frontdesk knowledge rebuild` and `frontdesk knowledge verify`."""

from __future__ import annotations

import sys

import click

from connectors.commands.options import Options
from connectors.declaring import everywhere, run_work
from connectors.declaring_knowledge import knowledge

__all__ = ["knowledge"]


@knowledge.command()
@click.option(
    "--wait",
    type=click.IntRange(0),
    default=600,
    show_default=True,
    help="Seconds to wait for a process that keeps the index.",
)
@everywhere
@click.pass_obj
def rebuild(options: Options, wait: int) -> None:
    """Build the search index anew from the documents.

    Vectors that are kept are not made again. May be interrupted and run again; questions are answered from
    the index before until it is ready.
    """
    from connectors.commands.knowledge.indexing import rebuild

    sys.exit(run_work(rebuild(options, wait=wait)))


@knowledge.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@everywhere
@click.pass_obj
def verify(options: Options, as_json: bool) -> None:
    """Compare the search index with the documents.

    Every passage is looked up. Exits with 1 when something is not whole.
    """
    from connectors.commands.knowledge.indexing import verify

    sys.exit(run_work(verify(options, as_json=as_json)))
