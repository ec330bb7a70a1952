"""What the plasticity supervisor calls a breach, and what it does about one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from toys import PERIOD, toy_robot, toy_rule, update_spec

from hebb_controller.node.supervisor import (
    Kind,
    Stage,
    Supervisor,
    SupervisorSettings,
    escalate,
    find_breach,
    twin_refusal,
)
from hebb_controller.rule import Envelope, LayerEnvelope, StaticTwin
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

ROWS = (LayerEnvelope(2.0, 0.5, 0.25), LayerEnvelope(4.0, 1.0, 0.75))
ENVELOPE = Envelope(100, ROWS)
TWIN = StaticTwin(episodes=10, duration=10.0, speed=0.5, fall_rate=0.1)
SETTINGS = SupervisorSettings(margin=1.0, twin_speed=0.1, twin_fall_rate=0.1)
PLASTIC, FROZEN, RESTORED, TWIN_STAGE, GIVEN_UP = Stage


@pytest.mark.parametrize(
    ("layer", "field", "value", "gain", "kind"),
    [
        (0, "norm", 2.5, 1.0, None),  # a margin of 1.25: just inside
        (0, "norm", 2.51, 1.0, Kind.NORM),
        (1, "norm", 5.01, 1.0, Kind.NORM),
        (0, "change", 0.625, 1.0, None),
        (0, "change", 0.63, 1.0, Kind.CHANGE),
        (0, "change", 0.63, 2.0, None),  # twice the gain may make twice the change
        (0, "change", 1.26, 2.0, Kind.CHANGE),
        (0, "change", 0.63, 0.5, Kind.CHANGE),  # half of it need not be less
        (0, "saturation", 0.32, 1.0, Kind.SATURATION),
        (1, "saturation", 1.0, 1.0, Kind.SATURATION),  # 0.9375
        (1, "norm", math.inf, 1.0, Kind.FINITE),
        (0, "change", math.nan, 1.0, Kind.FINITE),
    ],
)
def test_a_breach_is_a_value_beyond_the_envelope_times_the_margin(layer, field, value, gain, kind):
    rows = list(ROWS)
    rows[layer] = replace(rows[layer], **{field: value})
    found = find_breach(tuple(rows), ENVELOPE, margin=1.25, gain=gain)
    assert (found and found.kind) is kind
    if kind is not None:
        assert f"layer {layer}" in found.detail


def test_without_an_envelope_only_what_is_not_finite_is_a_breach():
    huge = (LayerEnvelope(1e30, 1e30, 1.0),)
    assert find_breach(huge, None, margin=1.0, gain=1.0) is None
    lost = (LayerEnvelope(math.nan, 0.0, 0.0),)
    assert find_breach(lost, None, margin=1.0, gain=1.0).kind is Kind.FINITE


@pytest.mark.parametrize(
    ("stage", "kind", "snapshot", "twin", "wanted"),
    [
        (PLASTIC, Kind.CHANGE, True, True, FROZEN),
        (PLASTIC, Kind.SATURATION, False, False, FROZEN),
        (PLASTIC, Kind.NORM, True, True, RESTORED),  # frozen weights keep their norm
        (PLASTIC, Kind.NORM, False, True, TWIN_STAGE),
        (PLASTIC, Kind.NORM, False, False, GIVEN_UP),
        (PLASTIC, Kind.FINITE, True, True, RESTORED),
        (FROZEN, Kind.SATURATION, True, True, RESTORED),
        (FROZEN, Kind.SATURATION, False, True, TWIN_STAGE),
        (RESTORED, Kind.SATURATION, True, True, TWIN_STAGE),
        (RESTORED, Kind.NORM, True, False, GIVEN_UP),
        (TWIN_STAGE, Kind.CHANGE, True, True, GIVEN_UP),
    ],
)
def test_each_remedy_follows_the_one_that_did_not_help(stage, kind, snapshot, twin, wanted):
    assert escalate(stage, kind, snapshot=snapshot, twin=twin) is wanted


@pytest.mark.parametrize(
    ("twin", "reason"),
    [
        (TWIN, ""),
        (None, "no static twin"),
        (replace(TWIN, speed=0.09), "0.09 m/s"),
        (replace(TWIN, speed=math.nan), "nan"),
        (replace(TWIN, fall_rate=0.2), "20%"),
    ],
)
def test_the_static_twin_may_drive_if_it_was_measured_to_walk(twin, reason):
    rule = toy_rule()
    rule = replace(rule, header=replace(rule.header, static_twin=twin))
    refusal = twin_refusal(rule, SETTINGS)
    assert (reason in refusal) if reason else not refusal


def supervised(*, norm=1e6, change=1e6, saturation=1.0, twin=True, **rule):
    """Return a supervisor and its runtime; a rule without decay and with η·D grows at every tick."""
    made = toy_rule(robot=toy_robot(), update=update_spec(**rule))
    shapes = [layer["A"].shape for layer in made.layers]
    made = replace(
        made,
        header=replace(
            made.header,
            envelope=Envelope(1, (LayerEnvelope(norm, change, saturation),) * 2),
            static_twin=TWIN if twin else None,
        ),
        static=tuple(np.full(shape, 0.01, dtype=np.float32) for shape in shapes) if twin else (),
    )
    runtime = NumpyRuntime(made)
    runtime.reset(np.random.default_rng(0))
    return Supervisor(made, runtime, SETTINGS), runtime


def drive(supervisor, runtime, ticks, observation=0.5):
    """Tick as the loop does; return the stages that were entered."""
    seen = []
    for _ in range(ticks):
        runtime.plasticity_gain = 1.0 if supervisor.stage is PLASTIC else 0.0
        runtime.step(np.full(6, observation, dtype=np.float32))
        found = supervisor.look(runtime.plasticity_gain)
        if found is not None and supervisor.mend(found):
            seen.append(supervisor.stage)
    return seen


def test_within_the_envelope_nothing_happens():
    supervisor, runtime = supervised()
    assert drive(supervisor, runtime, 50) == []
    assert supervisor.stage is PLASTIC
    assert len(supervisor.measured) == 2
    norms = [np.sqrt((layer.astype(float) ** 2).sum()) for layer in runtime.layers]
    np.testing.assert_allclose([row.norm for row in supervisor.measured], norms, rtol=1e-6)


def test_a_norm_beyond_the_envelope_brings_the_last_good_weights_back_and_freezes_them():
    supervisor, runtime = supervised(norm=20.0)
    states = []
    for _ in range(200):
        before = supervisor.stage
        drive(supervisor, runtime, 1)
        if before is PLASTIC and supervisor.stage is PLASTIC:
            states.append(runtime.state["weights"])
        elif supervisor.stage is not PLASTIC:
            break
    assert supervisor.stage is RESTORED
    assert "norm" in supervisor.reason
    restored = runtime.state["weights"]
    # one of those that were good, from a second before the breach at least
    age = next(i for i, weights in enumerate(reversed(states)) if (weights == restored).all())
    assert age + 1 >= 1.0 / PERIOD
    drive(supervisor, runtime, 50)
    np.testing.assert_array_equal(runtime.state["weights"], restored)
    assert supervisor.stage is RESTORED


def test_a_change_beyond_the_envelope_freezes_the_weights_as_they_are():
    supervisor, runtime = supervised(change=1e-6)
    assert drive(supervisor, runtime, 1) == [FROZEN]
    weights = runtime.state["weights"]
    assert drive(supervisor, runtime, 50) == []
    np.testing.assert_array_equal(runtime.state["weights"], weights)


def test_saturation_that_stays_leads_through_every_remedy_with_time_for_each():
    supervisor, runtime = supervised(saturation=0.25)
    runtime.restore({**runtime.state, "weights": np.full(40, 50.0, dtype=np.float32)})
    supervisor._good.append(runtime.state)  # saturated weights, by mistake
    seen, when = [], []
    for tick in range(100):
        entered = drive(supervisor, runtime, 1, observation=1.0)
        seen += entered
        when += [tick] * len(entered)
    assert seen == [FROZEN, RESTORED, TWIN_STAGE]
    assert min(np.diff(when)) * PERIOD >= 1.0
    np.testing.assert_allclose(runtime.state["weights"], 0.01)


def test_weights_that_were_frozen_for_a_breach_are_not_kept_as_good_ones():
    supervisor, runtime = supervised(change=1e-6, saturation=0.25)
    assert drive(supervisor, runtime, 50) == [FROZEN]
    runtime.restore({**runtime.state, "weights": np.full(40, 50.0, dtype=np.float32)})
    assert drive(supervisor, runtime, 10, observation=1.0)[0] is TWIN_STAGE


def test_weights_that_are_not_finite_are_given_up_where_there_is_nothing_to_go_back_to():
    supervisor, runtime = supervised(twin=False)
    runtime.restore({**runtime.state, "weights": np.full(40, np.nan, dtype=np.float32)})
    assert drive(supervisor, runtime, 1) == [GIVEN_UP]


def test_a_new_run_is_plastic_again():
    supervisor, runtime = supervised(change=1e-6)
    drive(supervisor, runtime, 1)
    supervisor.begin()
    assert supervisor.stage is PLASTIC
    assert supervisor.reason == ""
    assert supervisor.measured == ()


def test_a_rule_without_an_envelope_says_so():
    rule = toy_rule()
    assert "finiteness only" in Supervisor(rule, NumpyRuntime(rule), SETTINGS).watch
    assert "times 1" in supervised()[0].watch
