"""Start the simulated robot and the controller that drives it.

    ros2 launch hebb_controller sim.launch.py seed:=3
    ros2 param set /sim_node damage FR:limp
    ros2 launch hebb_controller sim.launch.py scenario:=limp_leg record:=run.mcap

With ``real_time_factor:=0`` both run in lock-step, as fast as they can.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from hebb_controller.share import share_dir
from launch import LaunchContext, LaunchDescription

SHARE = share_dir()

# argument -> (default, description, type of the sim node's parameter of that name)
ARGUMENTS = {
    "robot": ("a1", "Name of a shipped robot spec, or path of a .yaml file.", str),
    "seed": ("0", "Seed of the first pose and of the initial weights.", int),
    "real_time_factor": ("1.0", "Simulated seconds per second; 0 is lock-step.", float),
    "damage": ("none", "Damages from the start, e.g. FR:limp.", str),
    "scenario": (
        "",
        "Shipped scenario, or path of a .yaml file, played in addition to `damage`; empty for none.",
        str,
    ),
    "paused": ("false", "Whether to hold the simulation at its start.", bool),
    "duration": ("0.0", "Simulated time after which everything ends, s; 0 for never.", float),
}
CONTROLLER_ARGUMENTS = {
    "rule_file": (
        str(SHARE / "rules" / "a1_walk.rule.safetensors"),
        "Path of the rule file that drives the robot.",
    ),
    "namespace": ("", "Namespace of all nodes and their topics."),
    "record": (
        "",
        "Path of the .mcap file to record to, or of a directory for it; empty for none.",
    ),
}


def _end_everything(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """Return what shuts the launch down after a node has ended, unless it is shutting down already."""
    return [] if context.is_shutdown else [Shutdown(reason=f"{event.process_name} has ended")]


def generate_launch_description() -> LaunchDescription:
    """Return both nodes and their arguments."""
    lock_step = PythonExpression(["float('", LaunchConfiguration("real_time_factor"), "') == 0.0"])
    shared = ("robot", "seed", *CONTROLLER_ARGUMENTS)
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text, *_) in {**ARGUMENTS, **CONTROLLER_ARGUMENTS}.items()
            ),
            Node(
                package="hebb_controller",
                executable="sim_node",
                name="sim_node",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    str(SHARE / "config" / "sim.yaml"),
                    {
                        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                        for name, (_, _, kind) in ARGUMENTS.items()
                    },
                ],
                on_exit=_end_everything,
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "controller.launch.py")),
                launch_arguments={
                    **{name: LaunchConfiguration(name) for name in shared},
                    "tick_source": "sensor",
                    "lock_step": lock_step,
                }.items(),
            ),
        ]
    )
