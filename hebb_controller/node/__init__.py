"""The ROS 2 side: the lifecycle node that drives a robot, and what starts and operates nodes."""
