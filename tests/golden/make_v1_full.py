"""Make the second golden file of format version 1. Run once, when these fields were new; never again.

    python tests/golden/make_v1_full.py

It has what the first one lacks: coefficients per neuron, an evolved start, a static twin, golden vectors
and an envelope.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from toys import toy_rule, update_spec  # noqa: E402 - found where the line above says

from hebb_controller.golden import record_golden  # noqa: E402
from hebb_controller.network import InitialSpec  # noqa: E402
from hebb_controller.rule import (  # noqa: E402
    Envelope,
    LayerEnvelope,
    StaticTwin,
    make_rule,
)
from hebb_controller.rule_file import save_rule  # noqa: E402
from hebb_controller.runtime.numpy_runtime import NumpyRuntime  # noqa: E402

RULE = HERE / "v1_full.rule.safetensors"


def main() -> None:
    """Write the file."""
    update = update_spec(interval=2, trace_window=4.0, decay=0.1, normalisation="max_above_one")
    rule = toy_rule(
        "ABCD_eta_neuron",
        update=update,
        initial=InitialSpec("evolved", 1.0),
        hidden=(4,),
        scale=0.5,
        seed=2024,
    )
    rng = np.random.default_rng(5)
    seen = rng.standard_normal((8, rule.header.layer_sizes[0])).astype(np.float32)
    golden = record_golden(NumpyRuntime(rule), seen, rng)
    starts = [{"initial": layer["initial"]} for layer in rule.layers]
    header = replace(
        rule.header,
        envelope=Envelope(400, (LayerEnvelope(4.0, 0.5, 0.25), LayerEnvelope(2.0, 0.25, 1.0))),
        static_twin=StaticTwin(episodes=40, duration=10.0, speed=0.5, fall_rate=0.125),
    )
    save_rule(
        make_rule(
            header,
            starts,
            neurons=rule.neurons,
            static=[0.5 * start["initial"] for start in starts],
            golden=golden,
        ),
        RULE,
    )


if __name__ == "__main__":
    main()
