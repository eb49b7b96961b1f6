"""The crash matrix's cover: every framework killed in few cells, in which every two settings meet; each cell exact."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Final

import pytest
from tests.matrix.cells import FRAMEWORKS, Cell, all_cells, cover
from tests.matrix.player import Played, Player, wrong

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(240)]
_PLAYERS: Final = 2
_COVER: Final = [cell for framework in FRAMEWORKS for cell in cover(all_cells(framework))]


@pytest.fixture(scope="module")
def plays(request: pytest.FixtureRequest) -> Iterator[dict[Cell, Future[Played]]]:
    """Each cell that is to be looked at, played by two players at once: most of a cell is a framework's own start."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = [spec.params["cell"] for spec in specs if spec is not None and "cell" in spec.params]
    players: SimpleQueue[Player] = SimpleQueue()

    def play(cell: Cell) -> Played:
        player = players.get()
        try:
            return player.play(cell)
        finally:
            players.put(player)

    with ExitStack() as stack:
        for _ in range(_PLAYERS):
            players.put(stack.enter_context(Player()))
        pool = stack.enter_context(ThreadPoolExecutor(_PLAYERS))
        stack.callback(pool.shutdown, cancel_futures=True)
        yield {cell: pool.submit(play, cell) for cell in chosen}


@pytest.mark.parametrize("cell", _COVER, ids=[f"{cell.framework}: {cell.name}" for cell in _COVER])
def test_nothing_is_done_twice_and_nothing_is_asked_twice(plays: dict[Cell, Future[Played]], cell: Cell) -> None:
    assert not wrong(cell, plays[cell].result())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_cover_holds_every_two_settings_that_meet_anywhere(framework: str) -> None:
    ours = [cell for cell in all_cells(framework) if cell.how == "ours"]
    chosen = cover(ours)
    for one, other in (("die_at", "policy"), ("die_at", "shape"), ("shape", "way"), ("drain_too", "die_at")):
        met = {(getattr(cell, one), getattr(cell, other)) for cell in chosen}
        assert met == {(getattr(cell, one), getattr(cell, other)) for cell in ours}
