"""What is checked of a robot before anything walks: functions of what was heard, without ROS."""
