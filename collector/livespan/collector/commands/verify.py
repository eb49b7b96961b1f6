"""`livespan verify`: every component reads its part of a home for damage, and says where it is and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeAlias, cast

import click

from livespan.collector.options import OutputForm, Where, output_option, where_options
from livespan.collector.render import count, note, print_json, print_jsonl, printable, styled
from livespan.proto.errors import EXIT_CODES, ErrorKind
from livespan.proto.home import Home
from livespan.proto.verified import Fault, Verified

__all__ = ["VERIFIERS", "verified", "verify"]

VERIFIERS: Final = "livespan.verifiers"
_Verifier: TypeAlias = Callable[[Home], Iterable[Verified]]


@click.command(short_help="Read a home whole and report damage.")
@output_option
@where_options
@click.pass_context
def verify(context: click.Context, where: Where, output: OutputForm) -> None:
    """Read a home whole: each frame of the log, each page of the lake, each record of the spool, and how they fit.

    It reads only, and may run beside a collector and agents. What it cannot judge it says.

    \b
      log     checksums and sequence of every frame
      lake    both Delta logs, every page, the digest of every content, content that nodes name, watermarks, views.sql
      spool   every record of every writer, the watermarks

    The exit code is 6 where something is damaged. JSON is {home, sound, parts: [{component, name, checked, faults:
    [{file, offset, what, hint}], notes}]}, JSONL a part a line. Each Parquet file is held against the digest
    that it was sealed with. Of one from before there were seals a flipped bit is not seen where all still decodes.
    """
    where.own_home("only a home's own files can be verified")
    home = where.existing_home()
    parts: list[tuple[str, Verified]] = []
    if output is OutputForm.TEXT:
        click.echo(styled(printable(str(home.root)), "bold"))
    for component, part in verified(home):
        parts.append((component, part))
        if output is OutputForm.TEXT:
            _print_part(part)
        elif output is OutputForm.JSONL:
            print_jsonl([_as_json(component, part)])
    faults = sum(len(part.faults) for _, part in parts)
    if output is OutputForm.JSON:
        told = [_as_json(component, part) for component, part in parts]
        print_json({"home": str(home.root), "sound": not faults, "parts": told})
    elif output is OutputForm.TEXT:
        note(f"{count(faults, 'place')} not as it was written." if faults else "Sound.")
    if faults:
        context.exit(EXIT_CODES[ErrorKind.DAMAGED])


def verified(home: Home) -> Iterator[tuple[str, Verified]]:
    """Yield what each component's verifier found, with the component's name; one that breaks is a fault itself."""
    for point in sorted(entry_points(group=VERIFIERS), key=lambda point: (point.name != "collector", point.name)):
        yield from ((point.name, part) for part in _read(point, home))


def _read(point: EntryPoint, home: Home) -> Iterator[Verified]:
    try:
        verifier = cast("_Verifier", point.load())
        yield from verifier(home)
    except ImportError as error:
        yield Verified(point.name, "nothing", notes=(f"Not read: {error.name or error} is not installed.",))
    except Exception as error:  # noqa: BLE001  # a component's border: its bug must not hide what the others found
        what = f"The verifier itself failed: {type(error).__name__}: {error}"
        yield Verified(point.name, "not to its end", (Fault(str(home.root), None, what, "Please report this."),))


def _print_part(part: Verified) -> None:
    word, style = ("DAMAGED", "bold red") if part.faults else ("ok", "green")
    click.echo(f"  {styled(f'{word:8}', style)}{part.name:14}{part.checked}")
    for fault in part.faults:
        place = fault.file if fault.offset is None else f"{fault.file}@{fault.offset}"
        click.echo(f"          {printable(place)}")
        click.echo(f"            {printable(fault.what)}")
        click.echo(f"            {printable(fault.hint)}")
    for each in part.notes:
        click.echo(f"          {printable(each)}")


def _as_json(component: str, part: Verified) -> dict[str, object]:
    return {
        "component": component,
        "name": part.name,
        "checked": part.checked,
        "faults": [
            {"file": fault.file, "offset": fault.offset, "what": fault.what, "hint": fault.hint}
            for fault in part.faults
        ],
        "notes": list(part.notes),
    }
