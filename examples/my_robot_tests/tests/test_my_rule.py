"""My rule walks until a leg loses its motors."""

from hebb_controller.share import shipped

RULE = shipped("rules", "a1_walk.rule.safetensors")  # or the path of your own


def test_my_rule_walks_until_a_leg_fails(simulate):
    run = simulate(RULE, "limp_leg", seed=1)
    print(run)
    assert run.deterministic
    assert run.speed_before > 0.3
