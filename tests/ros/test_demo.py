"""The demo, shortened: two real processes, a damage on the way, and the pictures of it."""

import numpy as np
import pytest
from PIL import Image

from hebb_controller.demo import Act, _Listener, run_demo
from hebb_controller.plots import run as plots

ACTS = (
    Act("before", 0.0, 2.0, "none"),
    Act("FR:limp", 2.0, 3.0, "FR:limp"),
    Act("healed", 3.0, 4.0, "none"),
)


def test_the_demo_walks_is_damaged_is_healed_and_leaves_pictures_and_data(tmp_path, rule_file):
    said = []
    recording = run_demo(rule_file, ACTS, robot="a1", seed=0, logs=tmp_path, say=said.append)
    times = np.array(recording.time)
    assert times[-1] >= 4.0
    assert (np.diff(times) > 0).all()
    assert len(times) > 0.9 * (times[-1] - times[0]) / 0.02
    damages = np.array(recording.damage)
    changes = np.flatnonzero(damages[1:] != damages[:-1]) + 1
    assert [damages[0], *damages[changes]] == ["none", "FR:limp", "none"]
    assert set(recording.phase) >= {"RUN"}
    assert any("speed" in line and "|ΔW|" in line for line in said)

    recording.write_csv(tmp_path / "run.csv")
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 1 + len(times)
    plots.demo_plot(recording, tmp_path / "run.png")
    with Image.open(tmp_path / "run.png") as picture:
        assert picture.width > 100
    plots.film(
        recording, lambda row: np.full((24, 32, 3), row % 256, dtype=np.uint8), tmp_path / "run.gif"
    )
    with Image.open(tmp_path / "run.gif") as film:
        assert film.n_frames > 10


@pytest.mark.parametrize(
    ("phase", "speed", "lies"),
    [("RUN", 0.1, True), ("RUN", -0.2, False), ("DAMPED", 0.0, False)],
)
def test_a_robot_that_the_network_drives_nowhere_for_a_second_lies(phase, speed, lies):
    """It is stopped before its leg is healed."""
    listener = _Listener()
    listener.phase = phase
    listener.recording.time = [0.02 * tick for tick in range(100)]
    listener.recording.position = [(0.0, speed * t, 0.1) for t in listener.recording.time]
    assert listener.lies() is lies
