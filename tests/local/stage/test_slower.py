"""A release that fails nowhere and is slower all the same: one of the scenarios that `make scenarios` replays."""

from __future__ import annotations

import pytest

from tests.local.stage.conftest import Replaying

pytestmark = [pytest.mark.index, pytest.mark.long]


def test_a_release_that_is_only_slower_is_held_with_a_finding(replayed: Replaying) -> None:
    value = replayed("slower").result.to_json()

    assert value["traffic"]["errors"] == 0
    attached = [function["candidate_attached"] for function in value["functions"].values()]
    assert any(attached) and not all(attached)
