"""What `frontdesk run` does with web pages while it runs: they are looked at again when they are due, and only then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from agent.settings import Settings, load
from connectors.commands.knowledge import paging
from connectors.composition import build_knowledge, build_pages
from knowledge.base import KnowledgeBase
from knowledge.editing import Act
from knowledge.library.tables import pages
from knowledge.search import Query
from tests.servers.running import serving
from tests.servers.site import Site

BOUND_SECONDS = 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values = {"FRONTDESK_DATA": str(tmp_path / "data"), "FRONTDESK_EMBEDDER": "none"}
    return load(tmp_path, {**values, "FRONTDESK_PAGES_ALLOW": "127.0.0.1", "FRONTDESK_PAGES_RECHECK_HOURS": "12"})


@pytest.fixture
async def knowledge(settings: Settings) -> AsyncIterator[KnowledgeBase]:
    made = build_knowledge(settings)
    yield made
    await made.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_pages_are_looked_at_when_they_are_due_and_customers_see_what_is_new(
    settings: Settings, knowledge: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(paging, "LOOK_SECONDS", 0.05)
    with serving(Site()) as site:
        async with build_pages(settings) as fetching:
            await knowledge.add_pages([f"{site.url}/refunds"], Act("anna", publish=True), fetching)
        await knowledge.bring_up()
        site.etag, site.page = '"two"', site.page.replace("five", "six")
        looking = asyncio.create_task(paging.recheck_always(knowledge, settings))
        try:
            await asyncio.sleep(0.3)
            assert len(site.asked) == 1, "it is not due for twelve hours"
            with knowledge._open_library()._engine.begin() as connection:
                connection.execute(update(pages).values(checked_at=datetime.now(UTC) - timedelta(hours=13)))
            await until(lambda: len(site.asked) == 2)
            async with asyncio.timeout(BOUND_SECONDS):
                while "six days" not in (await knowledge.search(Query("refunds"))).hits[0].passage.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert len(site.asked) == 2
            # Gone: the log names it, and the loop goes on.
            site._on_refunds = site._on_gone  # type: ignore[method-assign]
            with knowledge._open_library()._engine.begin() as connection:
                connection.execute(update(pages).values(checked_at=datetime.now(UTC) - timedelta(hours=13)))
            with caplog.at_level(logging.WARNING):
                await until(lambda: "it answers 410" in caplog.text)
            assert not looking.done()
        finally:
            looking.cancel()
            await asyncio.wait({looking})
