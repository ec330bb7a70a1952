"""Training runs on a toy, in this process, and what their logs say."""

import json

from toys import InlineExecutor, ToyCondition, slide, toy_training

from hebb_controller.train.trainer import LOG_NAME, Trainer


def conditions(stage, generation):
    return (ToyCondition(), ToyCondition())


def train(directory, robot_file, *, generations=4, seed=7, resume=False, stop=None, spoil=False):
    """Return the trainer after a run, or after ``stop`` generations of it."""
    given = (lambda *_: (ToyCondition(spoil=True),)) if spoil else conditions
    spec = toy_training(robot_file, generations=generations, seed=seed)
    trainer = Trainer(spec, slide, given, directory, resume=resume)
    run = trainer.run(InlineExecutor)
    for _ in range(generations if stop is None else stop):
        next(run, None)
    run.close()
    return trainer


def log(directory, *, torn=False):
    """Return the log without wall times; of a torn one, without the last line."""
    lines = (directory / LOG_NAME).read_text(encoding="utf-8").splitlines()
    lines = lines[:-1] if torn else lines
    return [
        {k: v for k, v in json.loads(line).items() if not k.endswith("seconds")} for line in lines
    ]
