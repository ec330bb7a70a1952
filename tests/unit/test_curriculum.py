"""When a run goes on to its next stage."""

from toys import REWARD

from hebb_controller.train.curriculum import PROOF, Progress, Stage

NEVER = 9.0


def stages_after(stages, worst):
    """Return the stage after each generation whose worst episode earned that."""
    progress = Progress()
    seen = []
    for value in worst:
        progress.tell(stages, value)
        seen.append(progress.stage)
    return seen


def test_a_stage_lasts_as_many_generations_as_it_has():
    stages = (Stage(REWARD, generations=2), Stage(REWARD, generations=1), Stage(REWARD))
    assert stages_after(stages, [0.0] * 5) == [0, 1, 2, 2, 2]


def test_a_mark_is_reached_by_the_mean_of_the_last_generations_not_by_a_single_one():
    stages = (Stage(REWARD, mark=0.5), Stage(REWARD))
    assert PROOF == 5
    assert stages_after(stages, [2.0, 0.0, 0.0, 0.0, 0.0]) == [0] * 5
    assert stages_after(stages, [0.5] * 4) == [0] * 4
    assert stages_after(stages, [0.5] * 5) == [0] * 4 + [1]
    assert stages_after(stages, [-9.0] * 3 + [0.5] * 5) == [0] * 7 + [1]


def test_what_was_earned_in_one_stage_proves_nothing_in_the_next():
    stages = (Stage(REWARD, mark=0.5), Stage(REWARD, mark=0.5), Stage(REWARD))
    assert stages_after(stages, [0.6] * 10) == [0] * 4 + [1] * 5 + [2]


def test_whichever_end_comes_first_counts():
    stages = (Stage(REWARD, generations=3, mark=NEVER), Stage(REWARD))
    assert stages_after(stages, [0.0] * 3) == [0, 0, 1]
    stages = (Stage(REWARD, generations=8, mark=0.5), Stage(REWARD))
    assert stages_after(stages, [0.5] * 5)[-1] == 1


def test_the_last_stage_has_no_next_even_when_its_mark_is_reached():
    assert stages_after((Stage(REWARD, mark=0.0),), [1.0] * 9) == [0] * 9


def test_the_population_settles_only_in_stages_that_say_so():
    stages = (
        Stage(REWARD, generations=2, settles=False),
        Stage(REWARD, generations=3),
        Stage(REWARD, settles=False),
    )
    progress = Progress()
    settled = []
    for _ in range(7):
        progress.tell(stages, 0.0)
        settled.append(progress.settled)
    assert settled == [0, 0, 1, 2, 3, 3, 3]
