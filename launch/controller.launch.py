"""Start the controller node, and by default configure and activate it.

ros2 launch hebb_controller controller.launch.py rule_file:=/path/to/a.rule.safetensors
"""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from hebb_controller.share import share_dir
from launch import LaunchContext, LaunchDescription

SHARE = share_dir()

# argument -> (default, description, type of the node's parameter of that name)
ARGUMENTS = {
    "robot": ("a1", "Name of a shipped robot spec, or path of a .yaml file.", str),
    "rule_file": (
        str(SHARE / "rules" / "a1_walk.rule.safetensors"),
        "Path of the rule file that drives the robot.",
        str,
    ),
    "tick_source": ("timer", "What the control loop waits for: timer or sensor.", str),
    "lock_step": ("false", "Answer every reading, for a simulator that waits for it.", bool),
    "seed": ("0", "Seed of the initial weights; -1 draws them from entropy.", int),
    "dry_run": ("false", "Publish the commands on ~/dry_run instead of joint_command.", bool),
}


def _end_everything(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """Return what shuts the launch down after a node has ended, unless it is shutting down already."""
    return [] if context.is_shutdown else [Shutdown(reason=f"{event.process_name} has ended")]


def generate_launch_description() -> LaunchDescription:
    """Return the node, its arguments, and the transitions."""
    controller = LifecycleNode(
        package="hebb_controller",
        executable="controller_node",
        name="controller_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, (_, _, kind) in ARGUMENTS.items()
            },
        ],
        on_exit=_end_everything,
    )

    def change(transition: int) -> EmitEvent:
        return EmitEvent(
            event=ChangeState(
                lifecycle_node_matcher=matches_action(controller), transition_id=transition
            )
        )

    def activate_if_configured(context: LaunchContext) -> list[EmitEvent]:
        configured = context.locals.event.goal_state == "inactive"
        return [change(Transition.TRANSITION_ACTIVATE)] if configured else []

    # It may end on its own when its disk is full: the robot walks on.
    recorder = Node(
        package="hebb_controller",
        executable="recorder_node",
        name="recorder_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[{"record": ParameterValue(LaunchConfiguration("record"), value_type=str)}],
        condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("record"), "")),
    )
    autostart = IfCondition(LaunchConfiguration("autostart"))
    # Once: if it is configured again later, it must not walk off on its own.
    activate = OnStateTransition(
        target_lifecycle_node=controller,
        start_state="configuring",
        entities=[OpaqueFunction(function=activate_if_configured)],
        handle_once=True,
    )
    refused = OnStateTransition(
        target_lifecycle_node=controller,
        start_state="configuring",
        goal_state="unconfigured",
        entities=[LogInfo(msg="controller_node could not be configured; the reason is above")],
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text, _) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(SHARE / "config" / "controller.yaml"),
                description="YAML file of the controller node's other parameters.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the node and its topics."
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="Whether to configure and activate the node.",
            ),
            DeclareLaunchArgument(
                "record",
                default_value="",
                description="Path of the .mcap file to record to, or of a directory for it; empty for none.",
            ),
            RegisterEventHandler(activate, condition=autostart),
            RegisterEventHandler(refused),
            recorder,
            controller,
            EmitEvent(
                event=ChangeState(
                    lifecycle_node_matcher=matches_action(controller),
                    transition_id=Transition.TRANSITION_CONFIGURE,
                ),
                condition=autostart,
            ),
        ]
    )
