"""Checkpoints, whole and damaged."""

import re
from dataclasses import asdict

import numpy as np
import pytest
from toy_runs import train

from hebb_controller.errors import TrainingError
from hebb_controller.train.checkpoint import NAME, load_checkpoint, save_checkpoint
from hebb_controller.train.curriculum import Progress


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    path = tmp_path / "run" / NAME
    whole = path.read_bytes()
    for data in (b"", whole[:7], whole[:100], whole[:-1], b"\xff" * len(whole)):
        path.write_bytes(data)
        with pytest.raises(TrainingError, match="not a checkpoint, or damaged"):
            train(tmp_path / "run", robot_file, resume=True)


def test_a_checkpoint_of_another_shape_is_one_clear_error(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    arrays, document = load_checkpoint(tmp_path / "run")
    save_checkpoint(tmp_path / "run", {**arrays, "mean": arrays["mean"][:-1]}, document)
    with pytest.raises(TrainingError, match=r"the checkpoint's 'mean' has shape \(\d+,\), not"):
        train(tmp_path / "run", robot_file, resume=True)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("generation", "1", "generation must be a whole number, found '1'"),
        ("generation", -1, "generation -1 in stage 0 is impossible"),
        ("ticks", 1.5, "ticks must be a whole number"),
        ("seconds", float("nan"), "seconds must be a number within"),
        ("revisions", "unknown", "revisions must be a list"),
        ("progress", None, "progress must be an object"),
        ("progress", 3, "progress must be an object"),
        ("progress", {}, "progress: 'stage' is missing"),
        ("progress", {"stage": 1}, "progress: 'generations' is missing"),
        ("progress", {"worst": [], "x": 1}, "progress: unknown field 'x'"),
        (
            "progress",
            {"stage": 0, "generations": 1, "settled": 1, "worst": 4},
            "progress.worst must be a list",
        ),
        (
            "progress",
            {"stage": 9, "generations": 1, "settled": 1, "worst": []},
            "in stage 9 is impossible",
        ),
    ],
)
def test_a_damaged_field_of_a_checkpoint_is_one_clear_error(
    tmp_path, robot_file, field, value, told
):
    train(tmp_path / "run", robot_file, stop=1)
    arrays, document = load_checkpoint(tmp_path / "run")
    save_checkpoint(tmp_path / "run", arrays, {**document, field: value})
    with pytest.raises(TrainingError, match=f"run: checkpoint.*{re.escape(told)}"):
        train(tmp_path / "run", robot_file, resume=True)


def test_a_checkpoint_whose_document_is_no_object_is_one_clear_error(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    save_checkpoint(tmp_path / "run", load_checkpoint(tmp_path / "run")[0], 3)
    with pytest.raises(TrainingError, match="not a checkpoint, or damaged"):
        train(tmp_path / "run", robot_file, resume=True)


def test_progress_comes_back_from_a_checkpoint_to_the_bit(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    arrays, document = load_checkpoint(tmp_path / "run")
    progress = Progress(0, 3, 11, (0.1, 1 / 3, -0.25))
    save_checkpoint(tmp_path / "run", arrays, {**document, "progress": asdict(progress)})
    assert train(tmp_path / "run", robot_file, resume=True, stop=0).progress == progress


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    arrays = {"mean": np.array([1.5, -2.0], dtype=np.float32)}
    save_checkpoint(tmp_path, arrays, {"generation": 3, "spec": {"seed": [1, "x", None]}})
    read, document = load_checkpoint(tmp_path)
    assert read["mean"].tolist() == [1.5, -2.0]
    assert document == {"generation": 3, "spec": {"seed": [1, "x", None]}}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
