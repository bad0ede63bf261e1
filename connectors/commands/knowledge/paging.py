"""`frontdesk knowledge add URL` and `recheck`: documents that come from web pages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from rich.console import Console

from agent.settings import Settings
from connectors.commands.knowledge.opened import (
    Signature,
    bring_up,
    document_json,
    opened,
    print_json,
    progress,
    say,
    tell,
    tell_failures,
    tell_kept,
)
from connectors.commands.knowledge.writing import Fields, tell_added
from connectors.commands.options import Options
from connectors.composition import build_pages, read_settings
from knowledge.base import KnowledgeBase
from knowledge.errors import FrontdeskError
from knowledge.library.kept_pages import KnownSitemap

_log = logging.getLogger(__name__)

LOOK_SECONDS = 600.0
"""How often it is looked whether pages are due."""


async def add_pages(
    options: Options,
    urls: Sequence[str],
    fields: Fields,
    signature: Signature,
    *,
    sitemap: bool,
    publish: bool,
    confirmed: bool,
    twins: bool,
    as_json: bool,
) -> bool:
    """Take in web pages, or those that sitemaps list. Returns whether any went in, or all were here already."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge, build_pages(read_settings(options.config, options.data)) as pages:
        wanted, notes = list(urls), []
        if sitemap:
            listed = [await pages.sitemap(url) for url in urls]
            wanted = list(dict.fromkeys(url for one in listed for url in one.urls))
            notes = [f"{note}." for one in listed for note in one.notes]
        act = signature.act(publish=publish, confirmed=confirmed)
        with progress(errors) as bars:
            done = await knowledge.add_pages(
                wanted, act, pages, change=fields.applied, twins=twins, known=sitemap, progress=bars
            )
        for url in urls if sitemap else ():
            await knowledge.follow_sitemap(
                KnownSitemap(url, act.author, publish, fields.audience, fields.tags, fields.review_by)
            )
        live = await bring_up(knowledge, errors) if publish and done.added else False
    if as_json:
        failed = [asdict(one) for one in done.failed]
        known = {"known": done.unchanged} if sitemap else {}
        print_json({"documents": [document_json(one) for one in done.added], "failed": failed, **known})
    else:
        if done.unchanged:
            say(f"{done.unchanged} of its pages {'is' if done.unchanged == 1 else 'are'} here already.")
        tell_added(done.added, live=live, as_json=False)
        tell_failures(done.failed, "pages")
    tell(errors, [*notes, *done.notes])
    return bool(done.added or done.unchanged)


async def recheck_always(knowledge: KnowledgeBase, settings: Settings) -> None:
    """Look at the web pages again whenever they are due, until it is cancelled. What goes wrong is in the log."""
    hours = settings["pages_recheck_hours"]
    while hours and not settings["offline"]:
        try:
            async with build_pages(settings) as pages:
                done = await knowledge.recheck_pages(pages, older_than=timedelta(hours=hours))
            if done.changed or done.added:
                await knowledge.bring_up()
            for failure in done.failed:
                _log.warning("The page %s could not be taken over: %s", failure.file, failure.reason)
            for one in done.kept:
                _log.warning("The page %s: %s", one.file, one.reason)
        except FrontdeskError as error:
            _log.warning("The web pages could not be looked at again: %s", error)
        await asyncio.sleep(LOOK_SECONDS)


async def forget(options: Options, url: str) -> bool:
    """No longer follow a sitemap. Returns whether it was followed."""
    async with opened(options) as knowledge:
        followed = await knowledge.forget_sitemap(url)
        others = await knowledge.sitemaps()
    say(f"{url} is followed no more; its pages stay." if followed else f"{url} is not a sitemap that is followed.")
    for one in others:
        say(f"Followed: {one.url}", "dim")
    return followed


async def recheck(options: Options, older_than: timedelta, *, as_json: bool) -> None:
    """Look at the web pages again, and take over what has changed on them."""
    errors = Console(stderr=True)
    async with opened(options) as knowledge, build_pages(read_settings(options.config, options.data)) as pages:
        with progress(errors) as bars:
            done = await knowledge.recheck_pages(pages, older_than=older_than, progress=bars)
        if done.changed or done.added:
            await bring_up(knowledge, errors)
    if as_json:
        failed, kept = [asdict(one) for one in done.failed], [asdict(one) for one in done.kept]
        print_json(
            {
                "added": len(done.added),
                "changed": done.changed,
                "unchanged": done.unchanged,
                "failed": failed,
                "kept": kept,
            }
        )
    else:
        say(f"Added {len(done.added)}, changed {done.changed}, unchanged {done.unchanged} pages.")
        if done.failed:
            what = (
                "pages could not be had; what is here of them"
                if len(done.failed) > 1
                else "page could not be had; its copy"
            )
            say(f"{len(done.failed)} {what} stays:", "yellow")
            for failure in done.failed:
                say(f"  {failure.file}: {failure.reason}")
        tell_kept(done.kept)
    tell(errors, list(done.notes))
