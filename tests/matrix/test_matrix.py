"""The crash matrix's cover: every framework killed in few cells, in which every two settings meet; each cell exact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.matrix.cells import FRAMEWORKS, Cell, all_cells, cover
from tests.matrix.player import Player, wrong

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(240)]
_COVER = [cell for framework in FRAMEWORKS for cell in cover(all_cells(framework))]


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with Player() as made:
        yield made


@pytest.mark.parametrize("cell", _COVER, ids=[f"{cell.framework}: {cell.name}" for cell in _COVER])
def test_nothing_is_done_twice_and_nothing_is_asked_twice(player: Player, cell: Cell) -> None:
    assert not wrong(cell, player.play(cell))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_cover_holds_every_two_settings_that_meet_anywhere(framework: str) -> None:
    ours = [cell for cell in all_cells(framework) if cell.how == "ours"]
    chosen = cover(ours)
    for one, other in (("die_at", "policy"), ("die_at", "shape"), ("shape", "way"), ("drain_too", "die_at")):
        met = {(getattr(cell, one), getattr(cell, other)) for cell in chosen}
        assert met == {(getattr(cell, one), getattr(cell, other)) for cell in ours}
