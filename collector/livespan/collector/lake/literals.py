"""Text as it stands in SQL: conditions that are literals prune by bloom filters and bounds, where parameters do not."""

from __future__ import annotations

from pathlib import Path

__all__ = ["path_literal", "plain_path", "text_literal"]


def text_literal(text: str) -> str:
    """Return a literal; DuckDB's parser ends a statement at a NUL, so that has to be spelled."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "(" + quoted.replace("\0", "' || chr(0) || '") + ")" if "\0" in text else quoted


def plain_path(path: Path) -> str:
    """Return a path in which DuckDB sees no pattern."""
    return str(path).replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def path_literal(path: Path) -> str:
    """Return such a path as a literal."""
    return text_literal(plain_path(path))
