"""`livespan doctor -- PROGRAM`: which calls of a program Livespan would not see, told by reading it.

    python agent.py, python -m package.agent, ./agent.py, uv run agent.py
        └─▶ its source ─▶ imports ─▶ those of its own modules, and so on ─▶ which libraries ─▶ recorded by whom

It is a look, no proof: what is imported by name at run time, or by an installed package, is not seen. A library that
is imported may well be called in functions that are decorated; the finding says where to look.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from livespan.instrumentation.framework_checks import LIBRARIES, Library, instrumented_packages
from livespan.proto.finding import Finding

__all__ = ["Look", "check", "look_at"]

_MOST_FILES: Final = 500
_MOST_BYTES: Final = 2_000_000
_TAKES_VALUE: Final = {"-W", "-X", "--check-hash-based-pycs"}


@dataclass(slots=True)
class Look:
    """What a program's own files import and call.

    Attributes:
        imports: dotted names of modules, each with the first `file:line` that imports it.
        decorated: how many functions bear a decorator of Livespan's.
        names: what of `livespan.instrumentation` is used (`run`, `instrument`, ...).
        files: how many files were read.
        unread: files that could not be read or parsed.
    """

    imports: dict[str, str] = field(default_factory=dict[str, str])
    decorated: int = 0
    names: set[str] = field(default_factory=set[str])
    files: int = 0
    unread: list[str] = field(default_factory=list[str])


def check(words: Sequence[str]) -> Iterator[Finding]:
    """Yield what there is to say about a program, given as its command line."""
    main = _main_file(words)
    if main is None:
        yield Finding(
            "program",
            None,
            f"no Python file was found in: {' '.join(words)}",
            "Name it as you start it: livespan doctor -- python agent.py, or python -m package.agent.",
        )
        return
    look = look_at(main)
    yield Finding("program", True, f"{main} and {look.files - 1} modules of its own were read")
    for path in look.unread:
        yield Finding("program", None, f"{path} cannot be read as Python; what it calls is not known")
    yield _recording(look)
    yield from _libraries(look)


def look_at(main: Path) -> Look:
    """Read a program's file and the modules beside it that it imports."""
    look = Look()
    root = main.parent
    todo: deque[Path] = deque([main])
    known = {main.resolve()}
    while todo and look.files < _MOST_FILES:
        path = todo.popleft()
        tree = _parse(path)
        if tree is None:
            look.unread.append(str(path))
            continue
        look.files += 1
        _read(tree, path, look)
        for found in _own_modules(tree, path, root):
            if found.resolve() not in known:
                known.add(found.resolve())
                todo.append(found)
    return look


def _recording(look: Look) -> Finding:
    if not any(_is_of(name, "livespan") for name in look.imports):
        return Finding(
            "recording",
            None,
            "it does not import livespan: nothing of it is recorded",
            'import livespan.instrumentation as ls; with ls.run("id"): ...',
        )
    said = (
        ", ".join(sorted(name for name in look.names if name in {"instrument", "run"})) or "neither run nor instrument"
    )
    detail = f"uses {said}; {look.decorated} functions are decorated"
    return Finding("recording", True if "run" in look.names else None, detail)


def _libraries(look: Look) -> Iterator[Finding]:
    seen = instrumented_packages()
    hooked = "instrument" in look.names
    for library in LIBRARIES:
        place = next((look.imports[name] for name in sorted(look.imports) if _imports(name, library)), "")
        if not place:
            continue
        if library.package in seen and hooked:
            yield Finding("seen", True, f"{library.package} ({library.calls}): recorded by ls.instrument()")
        elif library.package in seen:
            yield Finding(
                "not seen",
                None,
                f"{library.package} ({library.calls}), imported at {place}: it could be recorded",
                "Call ls.instrument() before the first run.",
            )
        else:
            yield Finding(
                "not seen",
                None,
                f"{library.package} ({library.calls}), imported at {place}: not recorded unless decorated",
                "Put its calls into functions with @ls.tool (they change the world) or @ls.step (they do not).",
            )


def _imports(name: str, library: Library) -> bool:
    return any(_is_of(name, module) for module in library.modules)


def _is_of(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _read(tree: ast.Module, path: Path, look: Look) -> None:
    """Note a file's imports, and what it uses of Livespan under whatever name."""
    aliases: set[str] = set()
    direct: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                look.imports.setdefault(alias.name, f"{path}:{node.lineno}")
                if _is_of(alias.name, "livespan"):
                    aliases.add(alias.asname or alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                look.imports.setdefault(f"{node.module}.{alias.name}", f"{path}:{node.lineno}")
            if node.module == "livespan":
                aliases.update(alias.asname or alias.name for alias in node.names)
            elif _is_of(node.module, "livespan"):
                direct.update(alias.asname or alias.name for alias in node.names)
                look.names.update(alias.name for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in aliases:
            look.names.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            look.decorated += any(_is_ours(decorator, aliases, direct) for decorator in node.decorator_list)


def _is_ours(decorator: ast.expr, aliases: set[str], direct: set[str]) -> bool:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(function, ast.Attribute):
        return ast.unparse(function.value) in aliases
    return isinstance(function, ast.Name) and function.id in direct


def _own_modules(tree: ast.Module, path: Path, root: Path) -> Iterator[Path]:
    """Yield the files beside a program that a file of it imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = root
            if node.level:
                base = path.parent
                for _ in range(node.level - 1):
                    base = base.parent
            if node.module:
                yield from _module_files(base, node.module)
            for alias in node.names:
                yield from _module_files(base, f"{node.module}.{alias.name}" if node.module else alias.name)


def _module_files(base: Path, name: str) -> Iterator[Path]:
    """Yield the file of a module below `base`, and the `__init__.py` of each package on the way to it."""
    at = base
    parts = name.split(".")
    for index, part in enumerate(parts):
        package = at / part / "__init__.py"
        if package.is_file():
            yield package
        module = at / f"{part}.py"
        if index == len(parts) - 1 and module.is_file():
            yield module
        at = at / part


def _parse(path: Path) -> ast.Module | None:
    try:
        source = path.read_bytes()
        return ast.parse(source, str(path)) if len(source) <= _MOST_BYTES else None
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _main_file(words: Sequence[str]) -> Path | None:
    """Return the Python file that a command line starts, None where it cannot be told."""
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if word == "-m" and rest:
            name = rest[0]
            files = [*_module_files(Path.cwd(), f"{name}.__main__"), *_module_files(Path.cwd(), name)]
            own = [file for file in files if file.stem in {"__main__", name.rpartition(".")[2]}]
            return own[0] if own else None
        if word == "-c":
            return None
        if word in _TAKES_VALUE and rest:
            rest.popleft()
            continue
        path = Path(word)
        if path.is_file() and (path.suffix == ".py" or _is_script(path)):
            return path
        if path.is_dir() and (path / "__main__.py").is_file():
            return path / "__main__.py"
        if not rest and len(words) == 1 and (found := shutil.which(word)) and _is_script(Path(found)):
            return Path(found)
    return None


def _is_script(path: Path) -> bool:
    """Return whether a file says in its first line that Python runs it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        first = os.read(descriptor, 200).partition(b"\n")[0]
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return first.startswith(b"#!") and b"python" in first
