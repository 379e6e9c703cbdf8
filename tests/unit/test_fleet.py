"""Which functions are left alone, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lamina.fleet import (
    BUSY,
    AliasView,
    FunctionView,
    Provisioned,
    Scope,
    critical,
    foreign,
    images_of,
    lookalikes_of,
    unfit,
    unprovisioned,
)
from lamina.rollout import RolloutPolicy
from tests.unit.fakes import layer

OLD, NEW = layer("web", 1), layer("web", 2)
VIEW = FunctionView("app", "arn:app", (OLD,), runtime="python3.13", architecture="arm64", tags={})
RELEASE: Any = SimpleNamespace(runtimes=("python3.12", "python3.13"), architectures=("arm64",))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"layers": (NEW,)}, "already has this release"),
        ({"runtime": "python3.11"}, "its runtime is python3.11, and this release is for python3.12 and python3.13"),
        ({"architecture": "x86_64"}, "its architecture is x86_64, and this release is for arm64"),
        ({"runtime": "", "architecture": ""}, None),
        ({"state": "Inactive"}, "its state is Inactive: nobody called it for so long that"),
        ({"state": "Failed", "why": "no such role"}, "its state is Failed (no such role)"),
        ({"state": "Pending"}, BUSY),
        ({"update": "InProgress"}, BUSY),
        ({"update": "Failed"}, "its last update is Failed"),
    ],
)
def test_what_cannot_be_changed_as_it_is(change: dict[str, Any], reason: str | None) -> None:
    found = unfit(replace(VIEW, **change), NEW, RELEASE)
    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_what_a_release_is_for_is_not_asked_where_it_is_not_known() -> None:
    unknown: Any = SimpleNamespace(runtimes=(), architectures=())
    assert unfit(replace(VIEW, runtime="python3.8"), NEW, unknown) is None
    assert unfit(replace(VIEW, runtime="python3.8"), NEW) is None


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (None, None), ({}, False), ({"lamina:critical": "True "}, True), ({"lamina:critical": "yes"}, True),
        ({"lamina:critical": "false"}, False), ({"critical": "true"}, False),
    ],
)  # fmt: skip
def test_a_tag_makes_a_function_critical_and_unknown_tags_are_unknown(
    tags: dict[str, str] | None, found: bool | None
) -> None:
    assert critical(replace(VIEW, tags=tags)) is found


def test_functions_with_somebody_else_s_layer_of_that_name_are_told_apart_and_told_how_to_be_taken_over() -> None:
    theirs = OLD.replace("123456789012", "210987654321")
    views = [VIEW, replace(VIEW, name="theirs", layers=(theirs,)), replace(VIEW, name="both", layers=(theirs, OLD))]
    assert lookalikes_of(views, NEW, RolloutPolicy()) == {"theirs": theirs}
    said = foreign(theirs)
    assert "of account 210987654321 in eu-central-1" in said
    assert lookalikes_of(views, NEW, RolloutPolicy(replaces=(theirs.rpartition(":")[0],))) == {}
    assert theirs.rpartition(":")[0] in said


def test_images_within_reach_are_known() -> None:
    views = [replace(VIEW, name=name, layers=(), image=True) for name in ("app-b", "app-a", "job", "app-not")] + [VIEW]
    policy = RolloutPolicy(exclude=("*-not",))
    assert images_of(views, policy, Scope(names="app*", own="lamina-")) == ("app-a", "app-b")


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ({}, None),
        ({"live": Provisioned(2)}, None),
        ({"live": Provisioned(2, "IN_PROGRESS")}, None),
        ({"live": Provisioned(2, "FAILED", "no room")}, "Lambda cannot provide the provisioned concurrency"),
        ({"7": Provisioned(3)}, "version 7 behind its alias 'live' has provisioned concurrency of its own (3)"),
        ({"6": Provisioned(3), "other": Provisioned(1, "FAILED")}, None),
    ],
)
def test_environments_that_are_kept_ready_are_not_given_up(kept: dict[str, Provisioned], reason: str | None) -> None:
    found = unprovisioned(AliasView("live", "7"), kept)
    assert found is None if reason is None else found is not None and found.startswith(reason)
