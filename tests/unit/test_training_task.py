"""What a worker makes of candidates, also of those that go wrong."""

from dataclasses import replace

import numpy as np
import pytest
from toys import REWARD, ToyCondition, slide, toy_training

from hebb_controller.errors import ContractError
from hebb_controller.robot import load_robot
from hebb_controller.train import task
from hebb_controller.train.task import FAILED, Task, run_task


def score(robot_file, *, mean, candidates, spoil=False):
    episodes = ((ToyCondition(spoil=spoil), 1), (ToyCondition(spoil=spoil), 2))
    genome = toy_training(robot_file).genome
    return run_task(Task(genome, REWARD, slide, robot_file, mean, 0.2, (episodes,)), candidates)


def test_a_candidate_that_is_no_rule_is_scored_as_failed_and_the_next_one_runs(robot_file):
    mean = np.zeros(24, dtype=np.float32)
    mean[3] = np.nan
    scores = score(robot_file, mean=mean, candidates=[(1, 1, 0), (1, -1, 0)])
    assert [score.fitness for score in scores] == [(FAILED, FAILED)] * 2
    assert [score.ticks for score in scores] == [0, 0]


def test_a_robot_that_was_edited_meanwhile_is_no_fault_of_the_candidates(robot_file, monkeypatch):
    stiffer = replace(load_robot(robot_file), kp=2 * load_robot(robot_file).kp)
    monkeypatch.setattr(task, "load_robot", lambda _: stiffer)
    with pytest.raises(ContractError):
        score(robot_file, mean=np.zeros(24, dtype=np.float32), candidates=[(1, 1, 0)])


def test_scores_do_not_depend_on_which_other_candidates_share_the_task(robot_file):
    mean = np.linspace(-1, 1, 24, dtype=np.float32)
    candidates = [(5, 1, 0), (5, -1, 0), (6, 1, 0), (0, 0, 0)]
    together = score(robot_file, mean=mean, candidates=candidates)
    alone = [score(robot_file, mean=mean, candidates=[c])[0] for c in candidates]
    assert together == alone
    assert len({score.fitness for score in together}) == 4


def test_a_failed_episode_is_worse_than_anything_an_episode_earns(robot_file):
    mean = np.zeros(24, dtype=np.float32)
    plain = score(robot_file, mean=mean, candidates=[(s, 1, 0) for s in range(6)])
    spoiled = score(robot_file, mean=mean, candidates=[(s, 1, 0) for s in range(6)], spoil=True)
    pairs = [
        (a, b)
        for one, other in zip(plain, spoiled, strict=True)
        for a, b in zip(one.fitness, other.fitness, strict=True)
    ]
    assert {b == FAILED for _, b in pairs} == {True, False}
    for earned, scored in pairs:
        assert scored == earned or (scored == FAILED and earned > FAILED)
