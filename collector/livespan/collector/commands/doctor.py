"""`livespan doctor`: every component's checks of this machine and home, and what to do about what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeAlias, cast

import click

from livespan.collector.options import OutputForm, Where, output_option, where_options
from livespan.collector.render import count, note, print_json, print_jsonl, printable, styled
from livespan.proto.finding import Finding
from livespan.proto.home import Home

__all__ = ["CHECKS", "PROGRAM_CHECKS", "doctor", "findings", "program_findings"]

CHECKS: Final = "livespan.checks"
PROGRAM_CHECKS: Final = "livespan.program_checks"
_Check: TypeAlias = Callable[[Home | Sequence[str]], Iterable[Finding]]
_SIGNS: Final = {True: ("ok", "green"), False: ("FAIL", "bold red"), None: ("note", "yellow")}


@click.command(short_help="Check this machine, the home and the collector.")
@output_option
@where_options
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def doctor(context: click.Context, where: Where, output: OutputForm, program: tuple[str, ...]) -> None:
    """Check this machine, the home and the collector; exit code 1 if something is at fault.

    \b
      livespan doctor
      livespan doctor -- python agent.py        also what of this program it would not see

    PROGRAM is read and not started.

    It reads only: no collector is started, nothing is created. JSON is a list of {component, name, ok, detail,
    hint}; ok is true, false, or null for what is worth knowing and no fault.
    """
    found = list(_remote(where) if where.endpoint else findings(_home(where)))
    found += program_findings(program)
    faults = sum(finding.ok is False for _, finding in found)
    match output:
        case OutputForm.TEXT:
            _print_text(found)
        case OutputForm.JSON:
            print_json([_as_json(component, finding) for component, finding in found])
        case OutputForm.JSONL:
            print_jsonl(_as_json(component, finding) for component, finding in found)
    if faults:
        note(f"\n{count(faults, 'check')} failed.")
        context.exit(1)


def findings(home: Home) -> Iterator[tuple[str, Finding]]:
    """Yield what each component's check found, with the component's name; a check that breaks is a finding itself."""
    for point in sorted(entry_points(group=CHECKS), key=lambda point: (point.name != "collector", point.name)):
        yield from ((point.name, finding) for finding in _checked(point, home))


def program_findings(program: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """Yield what components see in a program by reading it; nothing where there is no program."""
    if not program:
        return
    for point in entry_points(group=PROGRAM_CHECKS):
        yield from (("program", finding) for finding in _checked(point, program))


def _home(where: Where) -> Home:
    """Return the home: one that is there, or none yet; a folder of something else is refused."""
    root = where.home.root
    return where.home if not root.exists() or (root.is_dir() and not any(root.iterdir())) else where.existing_home()


def _checked(point: EntryPoint, subject: Home | Sequence[str]) -> Iterator[Finding]:
    try:
        check = cast("_Check", point.load())
        yield from check(subject)
    except ImportError as error:
        yield Finding(point.name, None, f"not checked: {error.name or error} is not installed")
    except Exception as error:  # noqa: BLE001  # a component's border: its bug must not hide what the others found
        yield Finding(
            point.name, False, f"the check itself failed: {type(error).__name__}: {error}", "Please report this."
        )


def _remote(where: Where) -> Iterator[tuple[str, Finding]]:
    from livespan.collector.checks import check_collector

    yield from (("collector", finding) for finding in check_collector(where.endpoint, where.access))


def _print_text(found: list[tuple[str, Finding]]) -> None:
    name_width = max((len(finding.name) for _, finding in found), default=0)
    component = ""
    for group, finding in found:
        if group != component:
            click.echo(("\n" if component else "") + styled(group, "bold"))
            component = group
        word, style = _SIGNS[finding.ok] if finding.ok is not None or finding.hint else ("info", "dim")
        click.echo(f"  {styled(f'{word:4}', style)}  {finding.name:{name_width}}  {printable(finding.detail)}")
        if finding.hint and finding.ok is not True:
            click.echo(f"  {'':4}  {'':{name_width}}  {printable(finding.hint)}")


def _as_json(component: str, finding: Finding) -> dict[str, str | bool | None]:
    return {
        "component": component,
        "name": finding.name,
        "ok": finding.ok,
        "detail": finding.detail,
        "hint": finding.hint,
    }
