"""What is measured of a file. Pure, but for reading it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What a file's author should mend is no fault of who reads it.
warnings.filterwarnings("ignore", category=SyntaxWarning)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A file in numbers."""

    lines: int
    functions: int
    classes: int
    deepest: int
    """Of all statements, how many stand around the one that stands in most."""


def measure_file(path: Path) -> Measurement:
    """Read and measure one file. Raises SyntaxError for what Python cannot parse, OSError, ValueError."""
    text = path.read_bytes()
    tree = ast.parse(text, path.name)
    statements = list(_statements(tree))
    return Measurement(
        lines=len(text.splitlines()),
        functions=sum(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one, _ in statements),
        classes=sum(isinstance(one, ast.ClassDef) for one, _ in statements),
        deepest=max((depth for _, depth in statements), default=0),
    )


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, int]]:
    """Every statement, with how many others it stands in."""
    waiting = [(statement, 0) for statement in tree.body]
    while waiting:
        statement, depth = waiting.pop()
        yield statement, depth
        # To the parser an `elif` is an `if` within the one before it, but it stands no further to the right.
        waiting += [
            (inner, depth + (inner.col_offset > statement.col_offset)) for inner in _directly_in(statement)
        ]


def _directly_in(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.excepthandler | ast.match_case):
            yield from _directly_in(child)
