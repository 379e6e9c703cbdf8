"""Weighing, a part of Enroll: functions that a candidate would take over Lambda's size limit are left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lamina.budget import Fit, Load, Size, fit, no_larger, not_known, too_large
from lamina.bundle import Manifest
from lamina.fleet import FunctionView
from lamina.layerlist import split, swap
from lamina.model import FunctionName, LayerArn
from lamina.rollout import Entry, EntryStatus

if TYPE_CHECKING:
    from lamina.gateways.registry import Layers
    from lamina.gateways.sizes import Sizes
    from lamina.gateways.store import Store


@dataclass(frozen=True)
class Scales:
    """What sizes are known from: Lamina's own releases by their manifests, everything else by its zip."""

    layers: Layers
    store: Store
    sizes: Sizes

    def weigh(
        self, entries: Sequence[Entry], views: Mapping[FunctionName, FunctionView], candidate: LayerArn
    ) -> tuple[Entry, ...]:
        """The entries, of which those that would burst are left alone; what is not known is said, and goes on.

        Lambda's own limit holds for what a function has now. So nothing is looked at where the candidate is no larger
        than what it replaces, and no zip is where not even the most that it can hold would burst.

        Args:
            views: the functions as they were listed, with the sizes of their zips.
        """
        # What changed since it was listed is for Attach to find out.
        planned = [
            entry for entry in entries if entry.status is EntryStatus.PLANNED and entry.replaced in entry.before.layers
        ]
        known = self._released({candidate, *(entry.replaced for entry in planned)} if planned else ())
        doubtful = [
            entry for entry in planned if not no_larger(known.get(entry.replaced, Size()), known.get(candidate, Size()))
        ]
        others = {arn for entry in doubtful for arn in entry.before.layers} - known.keys()
        known |= self._released(others)
        loads = {entry.function: _load(entry, views[entry.function], candidate, known) for entry in doubtful}
        open_ = {name: load for name, load in loads.items() if fit(load) is Fit.UNKNOWN}
        unread = {arn for load in open_.values() for arn, size in load.layers.items() if size.unzipped is None}
        # Functions that share their code are asked for it once.
        code = {views[name].code: name for name, load in open_.items() if load.code.unzipped is None}
        of_layers, of_code = self.sizes.measure(sorted(unread), code) if open_ else ({}, {})
        final = loads | {
            name: Load(
                _better(load.code, of_code.get(views[name].code)),
                {arn: _better(size, of_layers.get(arn)) for arn, size in load.layers.items()},
            )
            for name, load in open_.items()
        }
        return tuple(_said(entry, final[entry.function]) if entry.function in final else entry for entry in entries)

    def _released(self, arns: Iterable[LayerArn]) -> dict[LayerArn, Size]:
        """The sizes of those that are releases of Lamina's."""
        found: dict[LayerArn, Size] = {}
        for arn in sorted(arns):
            layer, version = split(arn)
            release = self.layers.release(layer.rsplit(":", 1)[1], version)
            if release is None or release.arn != arn:
                continue
            try:
                sizes = Manifest.model_validate(self.store.read_json(release.manifest)).sizes
            except ValidationError:
                continue
            found[arn] = Size(sizes.zipped, sizes.unzipped)
        return found


def _load(entry: Entry, view: FunctionView, candidate: LayerArn, known: Mapping[LayerArn, Size]) -> Load:
    layers = swap(entry.before.layers, entry.replaced, candidate)
    return Load(Size(view.code_size), {arn: known.get(arn) or Size(view.layer_sizes.get(arn)) for arn in layers})


def _better(known: Size, measured: Size | None) -> Size:
    return known if known.unzipped is not None or measured is None else Size(known.zipped, measured.unzipped)


def _said(entry: Entry, load: Load) -> Entry:
    match fit(load):
        case Fit.BURSTS:
            return entry.model_copy(update={"status": EntryStatus.LEFT_ALONE, "reason": too_large(load)})
        case Fit.UNKNOWN:
            return entry.model_copy(update={"reason": "; ".join(filter(None, (entry.reason, not_known(load))))})
        case Fit.FITS:
            return entry
