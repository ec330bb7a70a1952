"""What ``hebb train`` evolves in place of a preset's own rule, all else being equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import TrainingError
from ..network import InitialSpec
from ..train.baseline_file import FRAMES
from ..train.genome import BaselineGenome, Evolvable, Genome
from ..train.symmetry import hidden_mirror
from .presets import Preset


def _stacked(genome: Genome) -> Evolvable:
    return BaselineGenome(
        kind="stacked",
        layer_sizes=genome.layer_sizes,
        frames=FRAMES,
        tick_period=genome.tick_period,
        contract=genome.contract,
        mirrors=genome.mirrors,
    )


def _gru(genome: Genome) -> Evolvable:
    """Return a GRU as wide as the first hidden layer; its state replaces the second one."""
    sizes = (genome.layer_sizes[0], genome.layer_sizes[1], genome.layer_sizes[-1])
    mirrors = genome.mirrors and (genome.mirrors[0], hidden_mirror(sizes[1]), genome.mirrors[-1])
    return BaselineGenome("gru", sizes, 1, genome.tick_period, genome.contract, mirrors)


EVOLVED = InitialSpec("evolved", 1.0)
ETA_START = -3.0  # of a rule that starts as evolved weights: eta at a twentieth of its maximum
NETWORKS: dict[str, Callable[[Genome], Evolvable]] = {
    "hebbian": lambda genome: genome,
    "per-neuron": lambda genome: replace(
        genome,
        kind="ABCD_eta_neuron",
        initial=EVOLVED,
        eta_max=0.02,
        eta_start=ETA_START,
    ),
    "static": lambda genome: replace(genome, kind="static", initial=EVOLVED),
    "stacked": _stacked,
    "gru": _gru,
}
"""Name -> what is evolved in place of a preset's own rule, all else being equal."""


def with_network(preset: Preset, network: str) -> Preset:
    """Return a preset that evolves another network.

    Raises:
        TrainingError: the preset does not evolve a rule.
    """
    genome = preset.spec.genome
    if network == "hebbian":
        return preset
    if not isinstance(genome, Genome):
        raise TrainingError("only a preset that evolves a rule can evolve another network.")
    return replace(preset, spec=replace(preset.spec, genome=NETWORKS[network](genome)))
