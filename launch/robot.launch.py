"""Start the controller alongside the drivers of a real robot; it commands nothing unless told to.

    ros2 launch hebb_controller robot.launch.py robot:=dog.yaml rule_file:=walk.rule.safetensors
    ros2 launch hebb_controller robot.launch.py robot:=… rule_file:=… dry_run:=false

A first start goes all the way (checks, stand, network) and publishes what it would command on ~/dry_run.
docs/first_run.md says what comes before ``dry_run:=false``.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetRemap

from hebb_controller.share import share_dir
from launch import LaunchDescription

SHARE = share_dir()

# argument of controller.launch.py -> (default, description); without a default it is required
ARGUMENTS = {
    "robot": (None, "Path of the robot's spec, a .yaml file, or name of a shipped one."),
    "rule_file": (None, "Path of the rule file that drives the robot."),
    "dry_run": ("true", "Publish the commands on ~/dry_run and none to the robot; false to walk."),
    "autostart": ("true", "Whether to configure and activate the node."),
    "tick_source": ("timer", "What the control loop waits for: timer or sensor."),
    "seed": ("0", "Seed of the initial weights; -1 draws them from entropy."),
    "namespace": ("", "Namespace of the node and its topics."),
    "params_file": (
        str(SHARE / "config" / "controller.yaml"),
        "YAML file of the node's other parameters, such as heartbeat_timeout.",
    ),
}

# argument -> (topic of the node, description)
TOPICS = {
    "joint_states": ("joint_states", "Topic of the joints' driver, sensor_msgs/JointState."),
    "imu": ("imu/data", "Topic of the IMU's driver, sensor_msgs/Imu."),
    "joint_command": ("joint_command", "Topic that the driver takes, sensor_msgs/JointState."),
    "estop": ("estop", "Topic that damps the robot, std_msgs/Bool."),
    "heartbeat": ("heartbeat", "Topic of the dead-man's beat, std_msgs/Empty."),
}


def generate_launch_description() -> LaunchDescription:
    """Return the controller with the topics of the robot's drivers."""
    controller = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "controller.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in ARGUMENTS}.items(),
    )
    described = {**ARGUMENTS, **TOPICS}
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in described.items()
            ),
            GroupAction(
                [
                    *(
                        SetRemap(src=topic, dst=LaunchConfiguration(name))
                        for name, (topic, _) in TOPICS.items()
                    ),
                    controller,
                ]
            ),
        ]
    )
