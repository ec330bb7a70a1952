"""Write a rule file from numpy arrays: python examples/build_rule.py OUT.rule.safetensors.

docs/rule_file.md says what every field means.
"""

import sys

import numpy as np

from hebb_controller.contract import Contract, joint_contracts
from hebb_controller.network import InitialSpec
from hebb_controller.observation import Channel, observation_size
from hebb_controller.plasticity import UpdateSpec
from hebb_controller.robot import load_robot
from hebb_controller.rule import RuleHeader, make_rule
from hebb_controller.rule_file import save_rule

robot = load_robot("a1")
channels = (Channel("gravity", scale=1.0, clip=1.0), Channel("joint_position", scale=2.0, clip=5.0))
sizes = (observation_size(channels, robot.n_joints), 32, robot.n_joints)
header = RuleHeader(
    format_version=1,
    kind="ABCD_eta",
    layer_sizes=sizes,
    update=UpdateSpec(1, 1.0, decay=0.04, normalisation="clip", bound=3.0, learning_rate=1.0),
    initial=InitialSpec("uniform", scale=0.1),
    tick_period=0.02,
    contract=Contract(robot.name, "pd", 0, channels, joint_contracts(robot, [0.3] * 12)),
    provenance={"made": "by hand"},
    license="Apache-2.0",
)
rng = np.random.default_rng(0)
coefficients = [
    {name: rng.normal(0.0, 0.1, shape).astype(np.float32) for name in ("A", "B", "C", "D", "eta")}
    for shape in zip(sizes[1:], sizes, strict=False)
]
save_rule(make_rule(header, coefficients), sys.argv[1])
