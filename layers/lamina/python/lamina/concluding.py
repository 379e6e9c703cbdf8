"""How a run ended for each variant, from what its branch said and what the registry knows of its rollout."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.definition import Refusal
from lamina.model import LayerOutcome, Outcome, Stage
from lamina.rollout import Rollout, RolloutStatus

_WORDS = {
    Outcome.PROMOTED: "promoted",
    Outcome.ROLLED_BACK: "ROLLED BACK",
    Outcome.REJECTED: "REJECTED",
    Outcome.UP_TO_DATE: "up to date",
    Outcome.HELD: "HELD",
    Outcome.FAILED: "FAILED",
}
_GOOD = frozenset({Outcome.PROMOTED, Outcome.UP_TO_DATE})
_STATUS = {
    RolloutStatus.PROMOTED: Outcome.PROMOTED,
    RolloutStatus.ROLLED_BACK: Outcome.ROLLED_BACK,
    RolloutStatus.HELD: Outcome.HELD,
}


def conclude(said: LayerOutcome, promoted: int | None, rollout: Rollout | None) -> LayerOutcome:
    """One variant's outcome.

    The branch of a rollout that was stopped only knows that it failed; whether its functions were put back stands
    in the registry, which therefore has the last word.

    Args:
        said: what the variant's branch ended with.
        promoted: the variant's promoted release now.
        rollout: the rollout that the branch started, if it did.
    """
    if rollout is None:
        return said.model_copy(update={"before": promoted, "promoted": promoted})
    outcome = _STATUS.get(rollout.status, Outcome.FAILED)
    stopped = outcome is not Outcome.PROMOTED
    judged = rollout.cause_kind in ("harmful", "undecided", "alarm")
    return said.model_copy(
        update={
            "outcome": outcome,
            "caught_by": Stage.CANARY if stopped and judged else None,
            "culprits": rollout.culprits if stopped else (),
            "held_back": rollout.held_back,
            "before": rollout.baseline,
            "promoted": promoted,
            "message": rollout.cause if stopped else "",
        }
    )


def with_rest(outcome: LayerOutcome, rest: LayerOutcome) -> LayerOutcome:
    """The outcome of a first attempt with what became of the rest of the update; both concluded.

    A rest in which nothing was left to update is none.
    """
    if rest.outcome is Outcome.UP_TO_DATE:
        said = f"{outcome.message} Apart from what is held back, nothing is left to update.".strip()
        return outcome.model_copy(update={"then": None, "message": said})
    # Without a rollout of its own the first attempt does not know what was promoted before the second moved that.
    before = outcome.before if outcome.rollout is not None else rest.before
    return outcome.model_copy(update={"then": rest, "before": before})


def all_well(outcomes: Sequence[LayerOutcome], refused: Sequence[Refusal]) -> bool:
    """Whether every layer is where its definition wants it."""
    return not refused and all(outcome.outcome in _GOOD for outcome in outcomes)


def worth_telling(outcomes: Sequence[LayerOutcome], refused: Sequence[Refusal]) -> bool:
    """Whether the run did or met anything: a day on which nothing changed and nothing is wrong is no news."""
    return bool(refused) or any(
        outcome.outcome is not Outcome.UP_TO_DATE or outcome.advisories or outcome.unknown for outcome in outcomes
    )


def subject(outcomes: Sequence[LayerOutcome], refused: Sequence[Refusal]) -> str:
    """A message's subject: what needs attention first. At most 100 characters, as SNS demands."""
    bad = [outcome for outcome in outcomes if outcome.outcome not in _GOOD]
    if bad or refused:
        parts = [f"{outcome.variant} {_WORDS[outcome.outcome]}{_after(outcome)}" for outcome in bad]
        parts += [f"{refusal.layer} REFUSED" for refusal in refused]
        return f"Lamina: {'; '.join(parts)}"[:100]
    moved = [outcome.variant for outcome in outcomes if outcome.outcome is Outcome.PROMOTED]
    if not moved:
        exposed = [outcome.variant for outcome in outcomes if outcome.advisories]
        return f"Lamina: advisories {'remain' if exposed else 'unknown'}: {', '.join(exposed) or 'database not asked'}"[
            :100
        ]
    return f"Lamina: {len(moved)} promoted: {', '.join(moved)}"[:100]


def text(outcomes: Sequence[LayerOutcome], refused: Sequence[Refusal]) -> str:
    """The run in lines, the most serious first."""
    lines = [f"layers/{refusal.layer}: REFUSED. {refusal.message}" for refusal in refused]
    order = [Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.REJECTED, Outcome.HELD, Outcome.PROMOTED, Outcome.UP_TO_DATE]
    for outcome in sorted(outcomes, key=lambda outcome: (order.index(outcome.outcome), outcome.variant)):
        lines.append(line(outcome))
    return "\n".join(lines) if lines else "No layer was asked for."


def line(outcome: LayerOutcome) -> str:
    """One variant's outcome in a sentence or two."""
    parts = [f"{outcome.variant}: {_WORDS[outcome.outcome]}"]
    if outcome.promoted is not None:
        parts[0] += f", on version {outcome.promoted}"
    if outcome.summary:
        parts.append(f"Changes: {outcome.summary}.")
    parts += _blame(outcome)
    if outcome.advisories:
        parts.append(f"Still has {', '.join(outcome.advisories)}.")
    if outcome.unknown:
        parts.append(f"Advisories unknown: {outcome.unknown}.")
    if outcome.message:
        parts.append(outcome.message)
    if outcome.then is not None:
        parts += _rest(outcome.then)
    return ". ".join((parts[0], " ".join(parts[1:]))) if len(parts) > 1 else parts[0]


def _blame(outcome: LayerOutcome) -> list[str]:
    held = ", ".join(f"{name} {version}" for name, version in sorted(outcome.held_back.items()))
    return [
        *([f"Caused by {', '.join(outcome.culprits)}."] if outcome.culprits else []),
        *([f"Held back from now on: {held}."] if held else []),
    ]


def _rest(rest: LayerOutcome) -> list[str]:
    """What became of the rest, in sentences."""
    what = f" ({rest.summary})" if rest.summary else ""
    version = f" as version {rest.candidate}" if rest.candidate is not None else ""
    told = [f"The rest{what} was tried again{version}: {_WORDS[rest.outcome]}.", *_blame(rest)]
    return [*told, rest.message] if rest.message else told


def _after(outcome: LayerOutcome) -> str:
    return f", the rest {_WORDS[outcome.then.outcome]}" if outcome.then is not None else ""
