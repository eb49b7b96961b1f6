from __future__ import annotations

from pathlib import Path

import pytest

from livespan.instrumentation.settings import agent_settings
from livespan.proto.errors import InvalidInput
from livespan.proto.home import default_home


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = agent_settings({})
    assert settings.home.root == default_home()
    assert (settings.endpoint, settings.project, settings.run_id) == ("", "default", "")
    assert (settings.budget_ms, settings.spool_max_bytes, settings.on_unreachable) == (50.0, 256 << 20, "fail")


def test_every_variable_is_read(tmp_path: Path) -> None:
    settings = agent_settings(
        {
            "LIVESPAN_HOME": str(tmp_path),
            "LIVESPAN_ENDPOINT": "http://127.0.0.1:4317/",
            "LIVESPAN_PROJECT": "shop",
            "LIVESPAN_RUN_ID": "order-17",
            "LIVESPAN_IN_DOUBT": "charge=retry, send=fail ,retry",
            "LIVESPAN_BUDGET_MS": "12.5",
            "LIVESPAN_SPOOL_MAX_BYTES": "1048576",
        }
    )
    assert settings.home.root == tmp_path
    assert (settings.endpoint, settings.project, settings.run_id) == ("127.0.0.1:4317", "shop", "order-17")
    assert settings.in_doubt == {"charge": "retry", "send": "fail", "": "retry"}
    assert (settings.budget_ms, settings.spool_max_bytes) == (12.5, 1 << 20)


def test_a_relative_home_is_made_absolute_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert agent_settings({"LIVESPAN_HOME": "here"}).home.root == tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIVESPAN_IN_DOUBT", "charge=maybe"),
        ("LIVESPAN_IN_DOUBT", "charge"),
        ("LIVESPAN_BUDGET_MS", "fast"),
        ("LIVESPAN_BUDGET_MS", "-1"),
        ("LIVESPAN_BUDGET_MS", "nan"),
        ("LIVESPAN_SPOOL_MAX_BYTES", "1GB"),
        ("LIVESPAN_SPOOL_MAX_BYTES", "inf"),
    ],
)
def test_what_cannot_be_is_refused_by_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        agent_settings({name: value})
    assert refused.value.subject == name
