"""A replay's result: the contract's shape, who is blamed, and what must never be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local.registry import Release
from local.results import Flow, Function, Layer, Next, Result, Then, broken_promises, differences, flow
from local.scenario import Expectation

OLD = Release(1, "arn:aws:lambda:eu-central-1:123456789012:layer:llm-python311-x86_64:1", {"httpx": "0.27.2"})
NEW = Release(2, "arn:aws:lambda:eu-central-1:123456789012:layer:llm-python311-x86_64:2", {"httpx": "0.28.0"})
THIRD = Release(3, "arn:aws:lambda:eu-central-1:123456789012:layer:llm-python311-x86_64:3", {"httpx": "0.27.2"})
OTHER = "arn:aws:lambda:eu-central-1:123456789012:layer:theirs:7"

ROLLED_BACK = Layer("rolled_back", OLD, NEW, 1, "canary", ("httpx",), {"httpx": "0.28.0"})
PROMOTED = Layer("promoted", OLD, NEW, 2)
ON_OLD = Function((OTHER, OLD.arn), (OTHER, OLD.arn), True, (OTHER, OLD.arn))
ON_NEW = Function((OTHER, OLD.arn), (OTHER, NEW.arn), True, (OTHER, NEW.arn))


def result(layers: dict[str, Layer], functions: dict[str, Function] | None = None) -> Result:
    traffic = Flow(5400, 9, 60, 9)
    seconds = {"check": 1.2, "build": 2.0, "rollout": 14.1, "total": 40.318}
    return Result(layers, functions or {}, traffic, seconds, {"lambda:UpdateFunctionConfiguration": 6})


def test_the_shape_is_the_contracts() -> None:
    assert result({"llm-python311-x86_64": ROLLED_BACK}, {"chat-1": ON_OLD}).to_json() == {
        "outcome": "rolled_back",
        "caught_by": "canary",
        "culprits": ["httpx"],
        "held_back": {"httpx": "0.28.0"},
        "layers": {
            "llm-python311-x86_64": {
                "before": {"version": 1, "packages": {"httpx": "0.27.2"}},
                "candidate": {"version": 2, "packages": {"httpx": "0.28.0"}},
                "promoted": 1,
            }
        },
        "functions": {
            "chat-1": {"before": [OTHER, OLD.arn], "after": [OTHER, OLD.arn], "candidate_attached": True},
        },
        "traffic": {"invocations": 5400, "errors": 9, "on_candidate": 60, "errors_on_candidate": 9},
        "seconds": {"check": 1.2, "build": 2.0, "rollout": 14.1, "total": 40.32},
        "aws_calls": {"lambda:UpdateFunctionConfiguration": 6},
    }


def test_the_rest_is_told_beside_the_first_proposal_which_stays_the_outcome() -> None:
    anyio = Then("promoted", THIRD, {"anyio": ("4.6.2", "4.6.3"), "sniffio": ("1.3.1", None)})
    both = result({"llm": replace(ROLLED_BACK, promoted=3, then=anyio), "web": PROMOTED}).to_json()

    assert (both["outcome"], both["caught_by"], both["culprits"]) == ("rolled_back", "canary", ["httpx"])
    assert both["then"] == {"outcome": "promoted", "changed": {"anyio": ["4.6.2", "4.6.3"], "sniffio": ["1.3.1", None]}}
    assert (both["layers"]["llm"]["candidate"]["version"], both["layers"]["llm"]["promoted"]) == (2, 3)
    failed = Then("rolled_back", THIRD, {"idna": ("3.6", "3.7")})
    two = result({"llm": replace(ROLLED_BACK, then=anyio), "web": replace(ROLLED_BACK, then=failed)})
    assert two.then is not None
    assert (two.then["outcome"], sorted(two.then["changed"])) == ("rolled_back", ["anyio", "idna", "sniffio"])


def test_packages_of_npm_are_told_apart() -> None:
    both = replace(NEW, node_packages={"tslib": "2.8.0"})

    assert both.to_json() == {"version": 2, "packages": {"httpx": "0.28.0"}, "node_packages": {"tslib": "2.8.0"}}


def test_nothing_new_has_no_candidate() -> None:
    value = result({"web": Layer("up_to_date", OLD, None, 1)}).to_json()

    assert (value["outcome"], value["caught_by"], value["layers"]["web"]["candidate"]) == ("up_to_date", None, None)


@pytest.mark.parametrize(
    ("outcomes", "overall"),
    [
        (("promoted", "rolled_back", "rejected"), "rolled_back"),
        (("failed", "rejected"), "rejected"),
        (("held", "failed"), "failed"),
        (("promoted", "held"), "held"),
        (("up_to_date", "promoted"), "promoted"),
        (("up_to_date",), "up_to_date"),
        ((), "up_to_date"),
    ],
)
def test_a_run_is_called_after_the_most_serious_of_its_layers(outcomes: tuple[str, ...], overall: str) -> None:
    layers = {str(number): Layer(outcome, OLD, NEW, 1) for number, outcome in enumerate(outcomes)}

    assert result(layers).outcome == overall


def test_the_stage_is_that_of_the_layer_that_names_the_outcome() -> None:
    layers = {"a": Layer("rejected", OLD, NEW, 1, "verify", ("werkzeug",)), "b": ROLLED_BACK}

    assert result(layers).caught_by == "canary"
    assert result(layers).culprits == ["httpx", "werkzeug"]


def test_only_what_is_expected_is_compared() -> None:
    actual = result({"llm": ROLLED_BACK})

    assert differences(actual, Expectation(outcome="rolled_back")) == []
    expectation = Expectation.model_validate(
        {"outcome": "rejected", "caught-by": "verify", "culprits": ["HTTPX"]}, strict=False
    )
    assert differences(actual, expectation) == [
        "outcome: expected rejected, was rolled_back",
        "caught by: expected verify, was canary",
    ]
    assert differences(actual, Expectation.model_validate({"outcome": "rolled_back", "culprits": []})) == [
        "culprits: expected [], was ['httpx']"
    ]


def test_expectations_of_what_came_after_of_single_layers_of_functions_and_of_words() -> None:
    then = Then("promoted", THIRD, {})
    functions = {"chat-1": replace(ON_OLD, left_alone="its state is Failed"), "chat-2": ON_NEW}
    actual = replace(
        result(
            {"llm-python311-x86_64": replace(ROLLED_BACK, then=then), "web-dev-python311-arm64": PROMOTED}, functions
        ),
        next=Next("up_to_date"),
    )

    def missed(told: str = "", **expected: object) -> list[str]:
        return differences(actual, Expectation.model_validate({"outcome": "rolled_back", **expected}), told)

    right = {
        "held-back": {"httpx": "0.28.0"}, "then": "promoted", "next": "up_to_date",
        "layers": {"llm": "rolled_back", "web-dev": "promoted"}, "left-alone": {"chat-1": "Failed"}, "says": ["why"],
    }  # fmt: skip
    assert missed("this is why", **right) == []
    assert missed(**{"held-back": {}}) == ["held back: expected {}, was {'httpx': '0.28.0'}"]
    assert missed(then="held", next="promoted") == [
        "then: expected held, was promoted",
        "next: expected promoted, was up_to_date",
    ]
    assert missed(layers={"web-dev": "held", "gone": "held"}) == [
        "outcome of web-dev: expected {'web-dev-python311-arm64': 'held'}, was {'web-dev-python311-arm64': 'promoted'}",
        "outcome of gone: expected held, was {}",
    ]
    assert missed(**{"left-alone": {"chat-1": "full", "chat-2": "full"}}) == [
        "left alone: expected chat-1 with 'full', was 'its state is Failed'",
        "left alone: expected chat-2 with 'full', was 'not'",
    ]
    assert missed("this is how", says=["why"]) == ["says: expected 'why', which is in no report"]


def test_functions_that_were_left_alone_and_another_update_are_told_only_where_there_are_any() -> None:
    left = replace(ON_OLD, left_alone="its state is Failed")
    later = Next("promoted", {"anyio": ("4.6.2", "4.7.0")})

    value = replace(result({"llm": ROLLED_BACK}, {"chat-1": left, "chat-2": ON_OLD}), next=later).to_json()

    assert value["functions"]["chat-1"]["left_alone"] == "its state is Failed"
    assert "left_alone" not in value["functions"]["chat-2"]
    assert value["next"] == {"outcome": "promoted", "changed": {"anyio": ["4.6.2", "4.7.0"]}}
    assert "next" not in result({"llm": ROLLED_BACK}).to_json()


def test_the_flow_tells_the_candidates_invocations_apart() -> None:
    counts = {
        ("chat-1", "1", (OTHER, OLD.arn)): (100, 2),
        ("chat-1", "2", (OTHER, NEW.arn)): (10, 10),
        ("chat-2", "$LATEST", (NEW.arn,)): (5, 1),
    }

    assert flow(counts, [NEW.arn]) == Flow(115, 13, 15, 11)
    assert flow(counts, []) == Flow(115, 13, 0, 0)


class TestPromises:
    def test_all_on_the_old_release_after_a_rollback_and_on_the_new_one_after_a_promotion(self) -> None:
        assert broken_promises({"llm": ROLLED_BACK}, {"chat-1": ON_OLD}) == []
        assert broken_promises({"llm": PROMOTED}, {"chat-1": ON_NEW}) == []

    def test_a_function_left_behind_is_named(self) -> None:
        (sentence,) = broken_promises(
            {"llm": PROMOTED}, {"chat-1": ON_NEW, "chat-2": replace(ON_OLD, latest=ON_NEW.latest)}
        )
        assert sentence == (
            "chat-2 serves [theirs:7, llm-python311-x86_64:1]; it should be [theirs:7, llm-python311-x86_64:2]"
        )
        assert len(broken_promises({"llm": ROLLED_BACK}, {"chat-1": ON_NEW})) == 2

    @pytest.mark.parametrize(
        "after", [(OLD.arn, OTHER), (OLD.arn,), (OTHER,), (), (OTHER, OLD.arn, OLD.arn), (OTHER, NEW.arn)]
    )
    def test_order_and_other_layers_count(self, after: tuple[str, ...]) -> None:
        assert broken_promises({"llm": ROLLED_BACK}, {"f": replace(ON_OLD, after=after)})
        assert broken_promises({"llm": ROLLED_BACK}, {"f": replace(ON_OLD, latest=after)})

    def test_an_alias_that_is_still_split_is_not_restored(self) -> None:
        (sentence,) = broken_promises({"llm": ROLLED_BACK}, {"f": replace(ON_OLD, routed=True)})
        assert "still sends a share" in sentence

    def test_a_held_rollout_leaves_both(self) -> None:
        held = replace(ROLLED_BACK, outcome="held")
        split = replace(ON_OLD, latest=ON_NEW.latest, routed=True)
        assert broken_promises({"llm": held}, {"a": ON_OLD, "b": ON_NEW, "c": split}) == []
        assert broken_promises({"llm": held}, {"a": replace(ON_OLD, after=())})

    def test_the_last_attempt_counts(self) -> None:
        third = replace(ON_OLD, after=(OTHER, THIRD.arn), latest=(OTHER, THIRD.arn))
        for outcome, function in (("promoted", third), ("rolled_back", ON_OLD), ("failed", ON_OLD)):
            layer = replace(ROLLED_BACK, then=Then(outcome, THIRD, {}))
            assert broken_promises({"llm": layer}, {"a": function}) == []
            for other in {id(one): one for one in (third, ON_OLD, ON_NEW) if one is not function}.values():
                assert broken_promises({"llm": layer}, {"a": other})
        held = replace(ROLLED_BACK, then=Then("held", THIRD, {}))
        assert broken_promises({"llm": held}, {"a": ON_OLD, "b": third}) == []
        assert broken_promises({"llm": held}, {"a": ON_NEW})

    def test_functions_that_the_journal_excuses_may_stay(self) -> None:
        functions = {"a": ON_NEW, "b": ON_OLD}
        assert broken_promises({"llm": PROMOTED}, functions, {"b"}) == []
        assert broken_promises({"llm": PROMOTED}, functions)
