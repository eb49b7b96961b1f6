from __future__ import annotations

import os
import random

from livespan.proto.clock import random_id


def test_a_forked_child_gives_other_ids_than_its_parent() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random_id().encode())
        os._exit(0)
    own = random_id()
    os.waitpid(child, 0)
    assert os.read(read, 64).decode() != own
    os.close(read)
    os.close(write)


def test_a_seed_of_the_program_does_not_make_ids_come_again() -> None:
    random.seed(1)
    first = random_id()
    random.seed(1)
    assert random_id() != first
