"""``hebb demo``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from ..errors import HebbError
from ..robot import load_robot
from ..rule_file import load_rule
from ..share import shipped
from .options import example, robot_option

WALK, LIMP, HEALED = 10.0, 8.0, 10.0  # s
FILM_SIZE = (320, 240)  # pixels
SETTLE = 3.0  # s at the start of each act, excluded from its speed


@click.command(epilog=example("hebb demo --damage RL:weak:0.3"))
@click.option("--rule", type=click.Path(dir_okay=False), help="Default: the robot's shipped walk.")
@robot_option
@click.option("--damage", default="FR:limp", show_default=True, help="PART:KIND[:AMOUNT].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo_out"),
    show_default=True,
    help="Directory for the plot, the film and the data.",
)
def demo(rule: str | None, robot: str, damage: str, seed: int, out: Path) -> None:
    """Walk over ROS 2, lose a leg, get it back: two processes, real DDS, with pictures."""
    from hebb_sim.damage import parse_damages
    from hebb_sim.world import World

    from ..demo import Act, run_demo
    from ..plots.run import demo_plot, film

    body = load_robot(robot)
    path = Path(rule) if rule else shipped("rules", f"{body.name}_walk.rule.safetensors")
    evolved = load_rule(path).header.initial.distribution == "evolved"
    parse_damages(damage, body)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HebbError(f"{out}: cannot be created: {error.strerror}.") from error
    acts = (
        Act("before", 0.0, WALK, "none"),
        Act(damage, WALK, WALK + LIMP, damage),
        Act("healed", WALK + LIMP, WALK + LIMP + HEALED, "none"),
    )
    weights = "evolved" if evolved else "random"
    click.echo(f"Walking with {path.name} from {weights} weights; {damage} at {WALK:g} s.")
    recording = run_demo(path, acts, robot=robot, seed=seed, logs=out, say=click.echo)
    click.echo(f"\n{'':14s} {'speed m/s':>9s}   controller at the end")
    for act in acts:
        speed = recording.speed(act.start + SETTLE, act.stop)
        click.echo(f"{act.name:14s} {speed:9.2f}   {recording.phase_at(act.stop)}")
    recording.write_csv(out / "run.csv")
    demo_plot(recording, out / "run.png")
    click.echo("\nDrawing the film ...")
    world = World(body, visual=True)

    def draw_row(row: int) -> npt.NDArray[np.uint8]:
        world.show(recording.position[row], recording.orientation[row], recording.joints[row])
        return world.camera(width=FILM_SIZE[0], height=FILM_SIZE[1])  # type: ignore[no-any-return]

    film(recording, draw_row, out / "run.gif")
    world.close()
    click.echo(f"{out}/: run.png, run.gif, run.csv and the nodes' logs")
