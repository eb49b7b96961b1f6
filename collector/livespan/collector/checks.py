"""What `livespan doctor` asks on the collector's behalf: home, disk, packages, and the collector if one runs."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, cast

import msgspec

from livespan.collector.clock_checks import check_clocks, collector_clock
from livespan.collector.known_faults import KnownFault
from livespan.collector.query.confinement import has_file_wall
from livespan.collector.render import duration
from livespan.proto.access import NO_ACCESS, Access
from livespan.proto.clock import wall_ns
from livespan.proto.errors import LivespanError, Stop
from livespan.proto.finding import Finding
from livespan.proto.home import Home, file_system
from livespan.proto.rendezvous import is_served, locate, read_address

__all__ = ["check", "check_collector"]

_PACKAGES: Final = ("duckdb", "pyarrow", "deltalake")
_LEAST_FREE_BYTES: Final = 256 * 1024**2
_GOOD_FREE_BYTES: Final = 2 * 1024**3
_LEAST_FREE_INODES: Final = 1000
_STATUS_TIMEOUT_S: Final = 3.0
_SHOWN: Final = 3
_SHOWN_FAULTS: Final = 10
_SEE_OUTPUT: Final = "See what it printed: collector.log in the home, or the output of `livespan serve`."


def check(home: Home) -> Iterable[Finding]:
    """Yield what there is to say about a home and its collector; starts none."""
    yield _platform()
    yield _packages()
    yield _file_wall()
    yield _ownership(home)
    yield _file_system(home)
    yield _disk(home)
    yield from check_clocks(home)
    yield from _collector(home)


def check_collector(target: str, access: Access = NO_ACCESS) -> Iterator[Finding]:
    """Yield what the collector at a target says of itself; `access` is shown to one that runs elsewhere."""
    # grpc costs 70 ms; a doctor of a home that is not served need not pay.
    import grpc

    from livespan.proto.rpc import open_channel, translate
    from livespan.proto.unreachable import NOT_RUNNING
    from livespan.proto.v1.livespan_pb2 import StatusRequest
    from livespan.proto.v1.livespan_pb2_grpc import QueryStub

    with open_channel(target, access) as channel:
        before_ns = wall_ns()
        try:
            reply = QueryStub(channel).Status(StatusRequest(), timeout=_STATUS_TIMEOUT_S)
        except grpc.RpcError as error:
            told = translate(error, subject=target)
            yield Finding(
                "collector",
                False,
                f"{target} does not answer: {told.message}",
                _SEE_OUTPUT if told.hint == NOT_RUNNING else told.hint,
            )
            return
    after_ns = wall_ns()
    status = msgspec.json.decode(reply.json, type=dict[str, object])
    yield Finding("collector", True, f"answers at {target}")
    its_version, its_wall_ns = status.pop("version", ""), status.pop("wall_ns", None)
    yield _versions(str(its_version))
    if isinstance(its_wall_ns, int):
        yield collector_clock(its_wall_ns, before_ns, after_ns)
    yield from _known_faults(status.pop("faults", ()))
    for name, value in status.items():
        yield Finding(_bare(name), None, _said(name, value))


def _known_faults(told: object) -> Iterator[Finding]:
    """Yield what the collector knows to be wrong; a damaged disk may have very many places."""
    faults = msgspec.convert(told, list[KnownFault])
    for fault in faults[:_SHOWN_FAULTS]:
        yield Finding(fault.where, False, fault.what, fault.hint)
    if len(faults) > _SHOWN_FAULTS:
        yield Finding(
            "more", False, f"{len(faults) - _SHOWN_FAULTS} more faults", "`livespan verify` tells all damage."
        )


def _versions(its: str) -> Finding:
    own = version("livespan")
    if its == own:
        return Finding("version", True, f"{own}, here and in the collector")
    return Finding(
        "version",
        None,
        f"the collector is {its or 'of an unknown version'}, this installation is {own}",
        "Run `livespan stop`: the next run starts one of this version. A sidecar: bring both to one version.",
    )


def _platform() -> Finding:
    detail = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    if sys.platform != "linux":
        return Finding("platform", False, detail, "Only Linux is tested; run the agent in a container or VM.")
    return Finding("platform", True, detail)


def _packages() -> Finding:
    found: list[str] = []
    missing: list[str] = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        hint = "pip install 'livespan[collector]', or set LIVESPAN_ENDPOINT to a collector that runs elsewhere."
        return Finding("packages", None, f"{', '.join(missing)} not installed: no collector can be started here", hint)
    return Finding("packages", True, ", ".join(found))


def _file_wall() -> Finding:
    if has_file_wall():
        return Finding("landlock", True, "the kernel keeps the processes that run SQL from writing files")
    return Finding(
        "landlock",
        None,
        "this kernel has no Landlock: that SQL writes no file rests on what statements may say, and on a limit of size",
        "Let only those ask SQL who may write to the home, or use Linux 5.13 or newer with Landlock switched on.",
    )


def _ownership(home: Home) -> Finding:
    if not home.root.exists():
        return Finding("home", None, f"{home.root} is not there yet; the first run, or `livespan serve`, makes it")
    status = home.root.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.getuid():
        return Finding(
            "home",
            False,
            f"{home.root} belongs to uid {status.st_uid}, not to you",
            "Set LIVESPAN_HOME to a folder of your own.",
        )
    if mode & 0o022:
        return Finding(
            "home", False, f"{home.root} may be written to by others (mode {mode:04o})", f"chmod 700 {home.root}"
        )
    if not os.access(home.root, os.W_OK):
        return Finding(
            "home", False, f"{home.root} cannot be written to", "Set LIVESPAN_HOME to a folder on a writable disk."
        )
    return Finding("home", True, f"{home.root} (mode {mode:04o})")


def _file_system(home: Home) -> Finding:
    place = _existing(home.root)
    kind = file_system(place) or "unknown"
    warning = Home(place).warning()
    if warning:
        return Finding(
            "file system",
            None,
            warning,
            "Set LIVESPAN_HOME to a folder on a local disk that outlives this machine's reboot.",
        )
    return Finding("file system", True, kind)


def _disk(home: Home) -> Finding:
    space = os.statvfs(_existing(home.root))
    free = space.f_bavail * space.f_frsize
    log, lake, spool = _folder_bytes(home.log), _folder_bytes(home.lake), _folder_bytes(home.spool)
    detail = f"{_size(free)} free; the log takes {_size(log)}, the lake {_size(lake)}, the spool {_size(spool)}"
    # Some file systems (btrfs) make inodes as they go, and say that they have none.
    if space.f_files and space.f_favail < _LEAST_FREE_INODES:
        return Finding(
            "disk",
            False,
            f"{space.f_favail:,} inodes free; {detail}",
            "Remove small files from this disk: where no file can be made, nothing can be recorded.",
        )
    if free < _LEAST_FREE_BYTES:
        return Finding(
            "disk", False, detail, "Free some space: agents wait, then stop, when nothing more can be recorded."
        )
    if free < _GOOD_FREE_BYTES:
        return Finding("disk", None, detail, "Space is getting short.")
    return Finding("disk", True, detail)


def _collector(home: Home) -> Iterator[Finding]:
    try:
        address = locate(home)
    except LivespanError as error:
        yield Finding("collector", False, error.message, error.hint)
        return
    if address is not None:
        try:
            yield from check_collector(address.target)
        except (LivespanError, Stop) as error:
            yield Finding("collector", False, error.message, error.hint)
    elif is_served(home):
        yield Finding(
            "collector",
            None,
            "is starting or leaving: the home is locked, no address is announced",
            "Look again in a moment.",
        )
    elif read_address(home) is not None:
        yield Finding(
            "collector",
            None,
            "none runs; the last one died without leaving",
            "Nothing is lost; the next run or query starts one.",
        )
    else:
        yield Finding("collector", None, "none runs; the next run or query starts one")


def _said(name: str, value: object) -> str:
    """Return a part of the status as one line; a name that ends in a unit says what a number is."""
    match value:
        case Mapping():
            parts = cast("Mapping[str, object]", value)
            return (
                ", ".join(f"{_bare(part_name)} {_said(part_name, part)}" for part_name, part in parts.items()) or "none"
            )
        case list():
            items = cast("list[object]", value)
            more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
            return ("; ".join(_said(name, item) for item in items[:_SHOWN]) + more) or "none"
        case bool():
            return "yes" if value else "no"
        case None | "":
            return "none"
        case int() if name.endswith("bytes"):
            return _size(value)
        case int() | float() if name.endswith("_s"):
            return duration(value * 1000)
        case float():
            return f"{value:.1f}"
        case _:
            return str(value)


def _bare(name: str) -> str:
    return name.removesuffix("_s").removesuffix("_bytes").replace("_", " ")


def _folder_bytes(folder: Path) -> int:
    """Return how much the files below a folder take on disk, in bytes; files may come and go meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue
    return total


def _existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there: where it would be made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TB"
