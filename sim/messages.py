"""The messages that the simulated robot's drivers publish."""

from __future__ import annotations

from array import array

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState

from hebb_controller.robot import RobotSpec
from hebb_controller.rotation import IDENTITY, inverse, multiply, quaternion, rotate
from hebb_controller.signals import SensorReading

from .world import World


def nanoseconds(stamp: float) -> int:
    """Return a stamp, s, as the nanoseconds in its messages."""
    return round(stamp * 1e9)


class SensorMessages:
    """The messages of one robot, refilled for every reading.

    Attributes:
        joints: ``joint_states``.
        imu: ``imu/data``, in the frame in which the imu is mounted.
        odometry: ``odom``: the ground truth, even where a sensor fails.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._mounting = robot.imu_rotation
        self._measures_velocity = robot.velocity_cutoff is None
        self.joints = JointState(name=list(robot.joint_names))
        self.imu = Imu()
        self.imu.header.frame_id = "imu_link" if self._mounting != IDENTITY else "base_link"
        self.imu.linear_acceleration_covariance[0] = -1.0  # not measured
        self.odometry = Odometry(child_frame_id="base_link")
        self.odometry.header.frame_id = "odom"

    def fill(self, reading: SensorReading, world: World) -> Time:
        """Fill all of them from a reading and the world that it was taken in; return their stamp."""
        stamp = nanoseconds(reading.stamp)
        now = Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)
        joints, imu, odometry = self.joints, self.imu, self.odometry
        joints.header.stamp = imu.header.stamp = odometry.header.stamp = now
        joints.position = array("d", reading.joint_position.tolist())
        if self._measures_velocity:
            joints.velocity = array("d", reading.joint_velocity.tolist())
        q, rate = imu.orientation, imu.angular_velocity
        q.x, q.y, q.z, q.w = multiply(quaternion(reading.orientation.tolist()), self._mounting)
        turning = reading.angular_velocity_base.tolist()
        rate.x, rate.y, rate.z = rotate(inverse(self._mounting), turning)
        base, truth = world.base(), world.truth
        pose, twist = odometry.pose.pose, odometry.twist.twist
        pose.position.x, pose.position.y, pose.position.z = base.position.tolist()
        orientation = quaternion(truth.orientation.tolist())
        q, rate = pose.orientation, twist.angular
        q.x, q.y, q.z, q.w = orientation
        rate.x, rate.y, rate.z = truth.angular_velocity_base.tolist()
        velocity = rotate(inverse(orientation), base.linear_velocity.tolist())
        twist.linear.x, twist.linear.y, twist.linear.z = velocity
        return now
