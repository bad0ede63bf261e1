"""The one-way rule: connectors -> agent -> knowledge; no cycle; importing does no work; `except Exception` in few places."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("knowledge", "agent", "connectors")
MAY_IMPORT = {"knowledge": {"knowledge"}, "agent": {"agent", "knowledge"}, "connectors": set(PACKAGES)}
# The doors that compose or show documents; every other connector module keeps to `agent`.
MAY_SEE_KNOWLEDGE = {"connectors.cli", "connectors.composition"}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, ast.Module]:
    """What is in each module. Not read above: every worker of a run collects these tests."""
    return {module_of(path): ast.parse(path.read_text("utf-8")) for path in SOURCES}


def imports_of(node: ast.AST, *, at_import: bool = False) -> set[str]:
    """Names of ours that are imported; never for type checking only; with `at_import`, not inside functions either."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.expr):
            continue
        if at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom) and child.module:
            assert child.level == 0, "imports are absolute"
            found |= {f"{child.module}.{alias.name}" for alias in child.names} | {child.module}
        else:
            found |= imports_of(child, at_import=at_import)
    return {name for name in found if name.split(".")[0] in PACKAGES}


def test_arrows_go_one_way() -> None:
    wrong = []
    for name, tree in modules().items():
        allowed = MAY_IMPORT[name.split(".")[0]]
        composes = name in MAY_SEE_KNOWLEDGE or name.startswith("connectors.commands")
        if name.startswith("connectors") and not composes:
            allowed = allowed - {"knowledge"}
        imports = imports_of(tree) & modules().keys()
        wrong += [f"{name} imports {one}" for one in imports if one.split(".")[0] not in allowed]
    assert wrong == []


def test_there_is_no_cycle() -> None:
    def needs(name: str) -> set[str]:
        packages = {name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)}
        return {one for one in imports_of(modules()[name], at_import=True) if one in modules()} - packages - {name}

    order = list(TopologicalSorter({name: needs(name) for name in modules()}).static_order())
    assert len(order) == len(modules())


def test_broad_excepts_are_where_the_house_allows_them() -> None:
    broad = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                raised_again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if caught in ("everything", "Exception", "BaseException") and not raised_again:
                    broad.append(name)
    # Discord's listen loop has two parts: what the gateway tells, and what was missed.
    listening = ["connectors.discord.hearing", "connectors.discord.lanes"]
    assert sorted(broad) == [
        "agent.session",
        "agent.turn",
        "connectors.cli",
        *listening,
        "knowledge.vectors.chroma_child",
    ]


def test_importing_loads_nothing_heavy() -> None:
    # The connector for Discord is made of the library's classes. Nobody imports it but who connects; its settings are light.
    light = {"connectors.discord", "connectors.discord.settings", "connectors.discord.errors", "connectors.discord.ids"}
    names = sorted(name for name in modules() if not name.startswith("connectors.discord") or name in light)
    code = (
        f"import importlib, sys\nfor name in {names!r}:\n    importlib.import_module(name)\n"
        "heavy = {'openai', 'chromadb', 'langgraph', 'onnxruntime', 'tokenizers', 'bm25s', 'discord', 'slack_bolt'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_little() -> None:
    heavy = ("rich", "sqlalchemy", "numpy", "agent", "pydantic")
    code = f"import sys, connectors.cli; print([one for one in {heavy!r} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
