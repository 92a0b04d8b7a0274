"""Reads the source of the house without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LUA = ROOT / "fluid" / "scheduler" / "brokers" / "lua"
LUA_STRING = re.compile(
    r"""--\[\[.*?\]\]|--[^\n]*|(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""", re.DOTALL
)
HOLE = "\0"


@dataclass(frozen=True)
class Room:
    """One module: its dotted name and its source."""

    name: str
    path: Path

    @cached_property
    def source(self) -> str:
        """The text."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The text, parsed."""
        return ast.parse(self.source, str(self.path))

    @property
    def is_door(self) -> bool:
        """A package's `__init__`."""
        return self.path.name == "__init__.py"

    def at(self, line: int) -> str:
        """Where a line of this room is, for people."""
        return f"{self.path.relative_to(ROOT)}:{line}"


@dataclass(frozen=True)
class Import:
    """One name taken from a module, or a whole module when `name` is empty."""

    module: str
    name: str
    line: int


def rooms(*packages: str) -> list[Room]:
    """Every module of these top-level packages, by name."""
    found = []
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(Room(".".join(parts).removesuffix(".__init__"), path))
    return sorted(found, key=lambda room: room.name)


def imports(tree: ast.AST) -> Iterator[Import]:
    """Every import, wherever it hides: in a function, under `TYPE_CHECKING`, or in `import_module("...")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute here"
            for alias in node.names:
                yield Import(node.module or "", alias.name, node.lineno)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield Import(argument.value, "", node.lineno)


def lines_where(tree: ast.AST, is_found: Callable[[ast.AST], bool]) -> Iterator[int]:
    """The line of everything in the tree that is found."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr | ast.excepthandler) and is_found(node):
            yield node.lineno


def called(node: ast.Call) -> str:
    """The last word of what is called: `now` of `datetime.now()`."""
    match node.func:
        case ast.Attribute(attr=word) | ast.Name(id=word):
            return word
    return ""


def published(room: Room) -> frozenset[str] | None:
    """The names in the room's `__all__`, None when it has none; of the errors, all are published."""
    if room.name == "fluid.errors":
        return frozenset(node.name for node in room.tree.body if isinstance(node, ast.ClassDef))
    for node in room.tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return frozenset(ast.literal_eval(value))
    return None


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string that the code uses, with its line; `HOLE` is what an f-string fills in."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr | ast.JoinedStr)
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(text_of(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def text_of(part: ast.expr) -> str:
    """What a piece of an f-string says."""
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else HOLE


def lua_strings(source: str) -> Iterator[tuple[int, str]]:
    """Every string of a Lua script, with its line, without comments."""
    for found in LUA_STRING.finditer(source):
        if found["text"] is not None:
            yield source.count("\n", 0, found.start()) + 1, found["text"][1:-1]


def assert_none(faults: list[str], rule: str) -> None:
    """Fail with the rule and every place that breaks it."""
    assert not faults, "\n".join([rule, *(f"  {fault}" for fault in sorted(faults))])
