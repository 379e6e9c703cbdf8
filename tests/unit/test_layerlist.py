from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.layerlist import find, lookalike, name_of, split, swap
from tests.unit.fakes import layer

names = st.sampled_from(["web", "data", "logs", "old-web", "tracing"])
arns = st.builds(layer, names, st.integers(1, 99))
lists = st.lists(arns, max_size=5, unique_by=name_of)


@given(lists, st.integers(1, 99))
def test_only_the_layer_s_own_place_changes(layers: list[str], version: int) -> None:
    candidate = layer("web", version)
    old = find(layers, candidate)
    if old is None:
        assert all(name_of(arn) != "web" for arn in layers)
        return
    changed = swap(layers, old, candidate)
    assert len(changed) == len(layers)
    assert [arn for arn in changed if arn != candidate] == [arn for arn in layers if arn != old]
    assert changed.index(candidate) == layers.index(old)


@given(lists, st.integers(1, 99))
def test_swapping_back_gives_the_list_that_stood_there(layers: list[str], version: int) -> None:
    candidate = layer("web", version)
    old = find(layers, candidate)
    if old is not None:
        assert swap(swap(layers, old, candidate), candidate, old) == tuple(layers)


def test_a_replaced_layer_gives_its_place_only_if_the_layer_itself_is_not_there() -> None:
    candidate = layer("web", 3)
    assert find([layer("logs", 1), layer("old-web", 7)], candidate, ["old-web"]) == layer("old-web", 7)
    assert find([layer("old-web", 7), layer("web", 2)], candidate, ["old-web"]) == layer("web", 2)
    assert find([layer("old-web", 7)], candidate) is None


@pytest.mark.parametrize("place", ["eu-central-1:210987654321", "eu-west-1:123456789012"])
@pytest.mark.parametrize(("name", "replaces"), [("web", []), ("old-web", ["old-web"])])
def test_a_layer_of_the_same_name_in_another_account_or_region_is_another_layer(
    place: str, name: str, replaces: list[str]
) -> None:
    foreign = f"arn:aws:lambda:{place}:layer:{name}:2"
    assert find([foreign], layer("web", 3), replaces) is None
    assert lookalike([layer("logs", 1), foreign], layer("web", 3), replaces) == foreign
    assert find([foreign], layer("web", 3), [foreign.rpartition(":")[0]]) == foreign


def test_a_layer_of_another_name_or_one_that_is_meant_is_no_lookalike() -> None:
    assert lookalike([layer("logs", 1), layer("web", 2)], layer("web", 3)) is None


def test_a_function_at_five_layers_keeps_five() -> None:
    five = [layer(name, 1) for name in ("logs", "old-web", "web", "tracing", "data")]
    old = find(five, layer("web", 2), ["old-web"])
    assert old == layer("web", 1)
    assert len(swap(five, old, layer("web", 2))) == 5


@pytest.mark.parametrize("text", ["", "web", "arn:aws:lambda:eu-central-1:1:layer:web", layer("web", 1) + "x"])
def test_what_is_not_a_layer_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the ARN"):
        split(text)


def test_swapping_what_is_not_attached_is_refused() -> None:
    with pytest.raises(ValueError, match="not attached"):
        swap([layer("web", 1)], layer("web", 2), layer("web", 3))
