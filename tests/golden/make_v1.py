"""Make the golden files of format version 1. Run once, when the version was new; never again.

    python tests/golden/make_v1.py

They hold a rule with everything that version 1 knows in its update, and a trajectory worked out by the
slow reference in double precision: before every tick the float32 state, then the observation, and
what must follow. Files of this version have to load and run like this for ever.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from reference import reference_tick  # noqa: E402 - found where the line above says
from toys import toy_rule, update_spec  # noqa: E402

from hebb_controller.rule_file import save_rule  # noqa: E402

TICKS = 32
RULE = HERE / "v1.rule.safetensors"
TRAJECTORY = HERE / "v1.trajectory.npz"


def main() -> None:
    """Write both files."""
    update = update_spec(interval=3, trace_window=5.0, decay=0.04, normalisation="clip", bound=0.75)
    rule = toy_rule("ABCD_eta_E_outside", update=update, hidden=(8, 4), scale=0.3, seed=2020)
    rng = np.random.default_rng(2007)
    weights = rng.uniform(-0.5, 0.5, rule.n_synapses).astype(np.float32)
    state = {
        "weights": weights,
        "initial": weights.copy(),
        "trace": np.zeros(sum(rule.header.layer_sizes), dtype=np.float32),
        "tick": np.array(0, dtype=np.int64),
    }
    observation = rng.standard_normal((TICKS, rule.header.layer_sizes[0])).astype(np.float32)
    columns: dict[str, list[np.ndarray]] = {}
    for seen in observation:
        after = reference_tick(rule, state, seen)
        row = {
            "weights_before": state["weights"],
            "trace_before": state["trace"],
            "action": after.action,
            "action_bound": after.action_bound,
            "weights_after": after.weights,
            "weights_bound": after.weights_bound,
            "trace_after": after.trace,
            "trace_bound": after.trace_bound,
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        state = {
            **state,
            "weights": after.weights.astype(np.float32),
            "trace": after.trace.astype(np.float32),
            "tick": np.array(after.tick, dtype=np.int64),
        }
    save_rule(rule, RULE)
    np.savez_compressed(
        TRAJECTORY,
        initial=weights,
        observation=observation,
        **{name: np.array(values) for name, values in columns.items()},
    )


if __name__ == "__main__":
    main()
