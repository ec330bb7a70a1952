"""The simulated robot: PyBullet behind the same seam as a real one."""
