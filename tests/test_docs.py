"""The docs say what is so: generated parts are current, links lead somewhere, code blocks run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agent.settings import TABLE

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt"


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_generated_parts_are_current() -> None:
    pages = [str(page) for page in PAGES if "[[[cog" in page.read_text("utf-8")]
    assert len(pages) == 3
    done = subprocess.run([sys.executable, "-m", "cogapp", "--check", *pages], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\nTo mend it: .venv/bin/cog -r docs/*.md"


@pytest.mark.parametrize("setting", TABLE, ids=[setting.name for setting in TABLE])
def test_every_setting_is_documented(setting: object) -> None:
    assert f"`{setting.variable}`" in (ROOT / "docs" / "settings.md").read_text("utf-8")  # type: ignore[attr-defined]


def test_no_page_names_a_machine_or_a_registry() -> None:
    for page in PAGES:
        assert not re.search(r"index-url|/simple/|/(?:root|home)/\w", page.read_text("utf-8")), page


def test_the_two_commands_are_the_same_everywhere() -> None:
    demo, test = blocks(ROOT / "README.md", "sh")[:2]
    assert demo == f"{INSTALL} -e . && .venv/bin/frontdesk demo\n"
    assert test == f'{INSTALL} -e ".[dev]" && .venv/bin/python -m pytest -n auto\n'


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for page in (ROOT / "README.md", ROOT / "docs" / "connectors.md"):
        for code in blocks(page, "python"):
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout
            if page.name == "README.md":
                assert "14 days" in done.stdout


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_the_commands_run(name: str, tmp_path: Path) -> None:
    """Every `frontdesk ...` line of a page, in its order, in one directory; installing is what .ci/run does."""
    place, ran = tmp_path, 0
    environment = {**os.environ, "FRONTDESK_DATA": str(tmp_path / "data")}
    for line in "".join(blocks(ROOT / name, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["cd"]:
            place /= words[1]
        elif words[:1] == ["frontdesk"]:
            command = [str(Path(sys.executable).with_name("frontdesk")), *words[1:]]
            done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            ran += 1
    assert ran >= 4


def test_every_model_line_of_the_readme_is_understood(tmp_path: Path) -> None:
    from agent.models.presets import Catalogue, built_in, key_names

    catalogue = Catalogue(built_in(), dict.fromkeys(key_names(), "sk-test"))
    choices = [
        choice
        for text in blocks(ROOT / "README.md", "sh")
        for value in re.findall(r"^FRONTDESK_MODEL=(\S+)", text, re.MULTILINE)
        for choice in value.split(",")
    ]
    assert len(choices) >= 7
    for choice in choices:
        assert choice == "quotes" or catalogue.endpoint(choice).model
