"""Baselines for plasticity: a static network that sees five observations at once, and a GRU.

They run behind the same ``Runtime`` protocol as a rule, are evolved by the same code from the same
observations, and may be mirror-symmetric like a rule. A static network with one observation is not
here: it is the rule kind ``static`` with an evolved start. Parameter counts with the 46
observations and 12 actions of ``hebb train``, and how many are free if the network is
mirror-symmetric:

| network | neurons | parameters | free |
|---|---|---|---|
| hebbian (``ABCD_eta``) | 46-32-16-12 | 10,880 | 5,440 |
| per-neuron (``ABCD_eta_neuron``, evolved start) | 46-32-16-12 | 2,706 | 1,378 |
| static (evolved weights) | 46-32-16-12 | 2,176 | 1,088 |
| stacked (five observations) | 5·46-32-16-12 | 8,064 | 4,032 |
| gru | 46-32-12 | 7,968 | 3,984 |
"""

from __future__ import annotations

import numpy as np

from ..controller import Controller, interface_for
from ..errors import ShapeError
from ..network import forward
from ..plasticity import Array
from ..robot import RobotSpec
from ..rule import Rule
from ..runtime.base import State
from .baseline_file import Baseline, header_as_rule


class FixedRuntime:
    """Base of the baseline runtimes; see :class:`~hebb_controller.runtime.base.Runtime`.

    The weights are part of the state, so they can be damaged and restored like a rule's. The
    plasticity gain is there for the protocol and has no effect.

    Args:
        baseline: a validated baseline.
    """

    def __init__(self, baseline: Baseline) -> None:
        self.plasticity_gain = 1.0
        self._sizes = baseline.header.layer_sizes
        self._evolved = np.concatenate([tensor.ravel() for tensor in baseline.tensors.values()])
        self._weights = self._evolved.copy()
        self._memory = np.zeros(0, dtype=np.float32)
        self._tick = 0
        self._tensors: dict[str, Array] = {}
        start = 0
        for name, tensor in baseline.tensors.items():
            part = self._weights[start : start + tensor.size]
            self._tensors[name] = part.reshape(tensor.shape)
            start += tensor.size

    @property
    def layers(self) -> list[Array]:
        """The live weights per tensor, (n_out, n_in): views; do not write to them."""
        return list(self._tensors.values())

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run: load the evolved weights and clear everything else."""
        self._weights[:] = self._evolved
        self._memory.fill(0.0)
        self._tick = 0

    def step(self, observation: Array) -> Array:
        """Return the action, (n_action,) in [−1, 1], and remember the observation.

        Args:
            observation: (n_observation,) dimensionless.

        Raises:
            ShapeError: the observation and the first layer differ in length.
        """
        if observation.shape != (self._sizes[0],):
            raise ShapeError(
                f"the observation has shape {observation.shape}, the network needs "
                f"({self._sizes[0]},)."
            )
        action = self._advance(observation)
        self._tick += 1
        return action

    def _advance(self, observation: Array) -> Array:
        raise NotImplementedError

    @property
    def state(self) -> State:
        """A copy of the whole state: weights, memory, tick."""
        return {
            "weights": self._weights.copy(),
            "memory": self._memory.copy(),
            "tick": np.array(self._tick, dtype=np.int64),
        }

    def restore(self, state: State) -> None:
        """Restore a state that :attr:`state` returned.

        Raises:
            ShapeError: an array is missing or of another shape; nothing has been changed.
        """
        own = {"weights": self._weights, "memory": self._memory, "tick": np.array(0)}
        for name, array in own.items():
            if name not in state or state[name].shape != array.shape:
                raise ShapeError(f"state '{name}' is missing or not of shape {array.shape}.")
        self._weights[:] = state["weights"]
        self._memory[:] = state["memory"]
        self._tick = int(state["tick"])


class StackedRuntime(FixedRuntime):
    """Runs a static network that sees its last observations, newest first.

    Until there are enough of them, the first one fills in for those that are missing, as if the
    robot had stood still.
    """

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        sizes = self._sizes
        self._memory = np.zeros((baseline.header.frames, sizes[0]), dtype=np.float32)
        hidden = [np.zeros(size, dtype=np.float32) for size in sizes[1:]]
        self._activations = [self._memory.reshape(-1), *hidden]
        self._layers = self.layers

    def _advance(self, observation: Array) -> Array:
        frames = self._memory
        if self._tick:
            for k in range(len(frames) - 1, 0, -1):
                frames[k] = frames[k - 1]
            frames[0] = observation
        else:
            frames[:] = observation
        forward(self._layers, self._activations)
        return self._activations[-1].copy()


class GruRuntime(FixedRuntime):
    """Runs a gated recurrent unit with a readout: a = tanh(V h).

        z = σ(W_z o + U_z h + b_z)          how much of h is kept
        r = σ(W_r o + U_r h + b_r)          how much of h the candidate sees
        n = tanh(W_n o + r ∘ (U_n h) + b_n)
        h ← (1 − z) ∘ n + z ∘ h

    Source: Cho et al. 2014 (arXiv 1406.1078), with r applied after U_n as in cuDNN and torch.
    """

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        n = self._sizes[1]
        self._memory = np.zeros(n, dtype=np.float32)
        self._gates = np.zeros(3 * n, dtype=np.float32)
        self._recurrent = np.zeros(3 * n, dtype=np.float32)
        self._scratch = np.zeros(n, dtype=np.float32)
        self._bias = self._tensors["bias"].reshape(-1)

    def _advance(self, observation: Array) -> Array:
        n, h, scratch = len(self._memory), self._memory, self._scratch
        gates, recurrent = self._gates, self._recurrent
        both, candidate = gates[: 2 * n], gates[2 * n :]
        with np.errstate(invalid="ignore"):  # see network.forward
            np.dot(self._tensors["input"], observation, out=gates)
            np.dot(self._tensors["recurrent"], h, out=recurrent)
            np.add(gates, self._bias, out=gates)
            np.add(both, recurrent[: 2 * n], out=both)
            np.multiply(both, np.float32(0.5), out=both)  # σ(x) = (1 + tanh(x/2))/2 never overflows
            np.tanh(both, out=both)
            np.multiply(both, np.float32(0.5), out=both)
            np.add(both, np.float32(0.5), out=both)
            np.multiply(recurrent[2 * n :], gates[n : 2 * n], out=scratch)
            np.add(candidate, scratch, out=candidate)
            np.tanh(candidate, out=candidate)
            np.subtract(h, candidate, out=h)
            np.multiply(h, gates[:n], out=h)
            np.add(h, candidate, out=h)
            action: Array = np.dot(self._tensors["readout"], h)
            return np.tanh(action, out=action)


def baseline_runtime(baseline: Baseline) -> FixedRuntime:
    """Return a runtime for a baseline of any kind."""
    return (GruRuntime if baseline.header.kind == "gru" else StackedRuntime)(baseline)


def baseline_controller(baseline: Baseline, robot: RobotSpec) -> Controller:
    """Return a controller that runs a baseline on a robot, wired like a rule.

    Raises:
        ContractError: the baseline does not fit this robot.
    """
    interface = interface_for(Rule(header_as_rule(baseline.header), ()), robot)
    return Controller(robot, interface, baseline_runtime(baseline))
