"""Left–right symmetry: rules that are their own mirror image.

A robot seen in a mirror is the same robot with left and right swapped. A rule that is its own
mirror image answers mirrored readings with mirrored commands, so it has no side to drift to and
half as many numbers to evolve. Mirroring the clock shifts it by half a period: the left legs then
do what the right legs did half a period ago, as in a walk, a trot or a pace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import TrainingError
from ..observation import CHANNELS, Channel
from ..robot import RobotSpec


@dataclass(frozen=True)
class Mirror:
    """What a mirror does to a vector: ``image[target[i]] = sign[i] · vector[i]``; its own inverse.

    Attributes:
        target: (n,) where each element goes.
        sign: (n,) +1 or −1.
    """

    target: tuple[int, ...]
    sign: tuple[int, ...]


ALONE = Mirror((0,), (1,))
"""Mirror of a single element that is its own image, such as the input of a bias."""

# Factor on a coefficient's image, from the signs of the synapse's two ends, so that the image of
# ΔW_ij = A·post_i·pre_j + B·pre_j + C·post_i + D is sign_i·sign_j·ΔW_ij.
_SIGNS: Mapping[str, Callable[[int, int], int]] = {
    "A": lambda post, pre: 1,
    "B": lambda post, pre: post,
    "C": lambda post, pre: pre,
    "D": lambda post, pre: post * pre,
    "E": lambda post, pre: post * pre,
    "eta": lambda post, pre: 1,
    "initial": lambda post, pre: post * pre,
}


def network_mirrors(
    channels: Sequence[Channel], robot: RobotSpec, hidden: Sequence[int]
) -> tuple[Mirror, ...]:
    """Return the mirror of every layer of neurons: observation, hidden layers, action.

    Hidden neurons are mirrored in pairs: 0 with 1, 2 with 3, …

    Raises:
        TrainingError: the robot spec has no mirror image, or a hidden layer is odd.
    """
    if robot.mirror is None:
        raise TrainingError(f"robot '{robot.name}': its spec states no 'mirror'. Add it.")
    joints = Mirror(*robot.mirror)
    target: list[int] = []
    sign: list[int] = []
    for channel in channels:
        signs = CHANNELS[channel.name].mirror
        part = Mirror(tuple(range(len(signs))), signs) if signs else joints
        target += [len(sign) + i for i in part.target]
        sign += part.sign
    return (Mirror(tuple(target), tuple(sign)), *map(hidden_mirror, hidden), joints)


def hidden_mirror(size: int) -> Mirror:
    """Return the mirror of a layer of hidden neurons: 0 with 1, 2 with 3, and so on.

    Raises:
        TrainingError: the size is odd.
    """
    if size % 2:
        raise TrainingError(f"a hidden layer of {size} neurons has no mirror image: make it even.")
    return Mirror(tuple(i ^ 1 for i in range(size)), (1,) * size)


def repeated(mirror: Mirror, times: int) -> Mirror:
    """Return the mirror of several copies of a vector in a row: stacked frames, the gates of a GRU."""
    size = len(mirror.target)
    target = tuple(size * copy + i for copy in range(times) for i in mirror.target)
    return Mirror(target, mirror.sign * times)


def free_numbers(
    pre: Mirror, post: Mirror, tensor: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """Return how a symmetric tensor follows from its free numbers: ``free[index] * factor``.

    Args:
        pre, post: mirrors of the layers that the synapses connect from and to.
        tensor: name of the tensor.

    Returns:
        ``index`` and ``factor``, each (n_out, n_in), and the count of free numbers. The factor is 0
        where a number would have to be its own opposite.
    """
    rows, columns = len(post.target), len(pre.target)
    index = np.full((rows, columns), -1, dtype=np.int64)
    factor = np.ones((rows, columns), dtype=np.float32)
    count = 0
    for i in range(rows):
        for j in range(columns):
            if index[i, j] >= 0:
                continue
            image = post.target[i], pre.target[j]
            sign = _SIGNS[tensor](post.sign[i], pre.sign[j])
            index[i, j] = index[image] = count
            factor[image] = sign
            if image == (i, j) and sign < 0:
                factor[i, j] = 0.0
            count += 1
    return index, factor, count


def free_numbers_of_neurons(
    mirrors: Sequence[Mirror], layer: int, tensor: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """Return how a symmetric tensor of one layer of neurons follows from its free numbers.

    The coefficients of synapses are made from those of neurons by ``plasticity.expand``, so D_i
    changes sign with the neuron and the others do not. A synapse's B comes from its presynaptic
    neuron alone but would have to change sign with the postsynaptic one; its C the other way round.
    So a neuron before a layer with sign changes can have no B, and one after such a layer no C.

    Args:
        mirrors: mirror of every layer of neurons.
        layer: index of the layer.
        tensor: A, B, C, D or eta.

    Returns:
        ``index`` and ``factor``, each (n,), and the count of free numbers, as in :func:`free_numbers`.
    """
    name = "initial" if tensor == "D" else "A"  # their factor is the neuron's sign, and 1
    index, factor, count = free_numbers(ALONE, mirrors[layer], name)
    other = layer + {"B": 1, "C": -1}.get(tensor, 0)
    if other != layer and 0 <= other < len(mirrors) and -1 in mirrors[other].sign:
        factor = np.zeros_like(factor)
    return index[:, 0], factor[:, 0], count
