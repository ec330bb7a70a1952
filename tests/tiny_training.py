"""The ``hebb`` command with preset ``fast`` made small enough to be trained in a second."""

from dataclasses import replace


def tiny(fast):
    """Return a preset like ``fast``: two pairs, three generations, episodes of 0.2 s."""
    from hebb_controller.cli.presets import Preset
    from hebb_controller.network import InitialSpec
    from hebb_controller.observation import Channel
    from hebb_sim.condition import Condition

    def preset(seed, robot="a1"):
        spec = fast(seed, robot).until(3, None).spec
        channels = (Channel("joint_position", 1.0, 5.0),)
        genome = replace(
            spec.genome,
            layer_sizes=(12, 12),
            contract=replace(spec.genome.contract, channels=channels),
            initial=InitialSpec("uniform", 0.1),
            mirrors=None,
        )
        spec = replace(spec, genome=genome, evolution=replace(spec.evolution, pairs=2))
        return Preset(spec, lambda stage, generation: (Condition(0.2),))

    return preset


if __name__ == "__main__":  # workers run this file, too, and need none of it
    from hebb_controller import cli
    from hebb_controller.cli import presets

    presets.PRESETS["fast"] = tiny(presets.fast)
    cli.main()
