"""A training run: generations, log and checkpoints."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Generic

import numpy as np

from ..errors import RuleFileError, TrainingError
from ..files import write_atomically
from ..json_fields import Json, decode
from ..plasticity import Array
from ..robot import FloatArray
from .checkpoint import NAME as CHECKPOINT_NAME
from .checkpoint import load_checkpoint, save_checkpoint
from .curriculum import Progress, Stage
from .evolution import Evolution, EvolutionSpec
from .executor import ExecutorFactory, TaskRunner, chunks
from .genome import Evolvable
from .task import C, Evaluate, Score, Task, run_task

LOG_NAME = "log.jsonl"
LOCK_NAME = ".lock"
CANDIDATES_PER_TASK = 4
SAMPLES = 20  # draws per stage by which a checkpoint recognises the conditions of its run


@dataclass(frozen=True)
class TrainingSpec:
    """A run; together with the conditions, it determines every bit of the result.

    Attributes:
        robot: name or path of the robot spec.
        genome: what is evolved.
        evolution: how it is evolved.
        stages: consecutive objectives; the last stage has no end of its own.
        generations: generations after which the run ends; None for no limit.
        seed: seed of everything random.
        ticks: control ticks after which the run ends, once the current generation is complete; None
            for no limit.
        draws: draws of the conditions per generation. Mirrored pairs take them in turn, the mean
            goes through all; candidates are ranked among those with the same draw.
    """

    robot: str
    genome: Evolvable
    evolution: EvolutionSpec
    stages: tuple[Stage, ...]
    generations: int | None
    seed: int
    ticks: int | None = None
    draws: int = 1


@dataclass(frozen=True)
class Generation:
    """A line of the log.

    Attributes:
        generation: number of the generation, from 1.
        stage: number of the stage, from 1.
        fitness: fitness of the mean itself on this generation's episodes.
        worst: the mean's lowest fitness over the conditions, averaged over the draws.
        population_fitness: mean fitness of the population.
        best_fitness: fitness of the best candidate.
        sigma: the population's standard deviation.
        ticks: control ticks since the start of the run.
        seconds: wall time of this generation.
        worker_seconds: time that all workers together spent on its candidates.
    """

    generation: int
    stage: int
    fitness: float
    worst: float
    population_fitness: float
    best_fitness: float
    sigma: float
    ticks: int
    seconds: float
    worker_seconds: float


@dataclass(frozen=True)
class _Saved:
    """How far a run has come: what its checkpoint holds besides arrays and options.

    Attributes:
        generation: generations completed.
        progress: progress through the stages.
        ticks: control ticks since the start of the run.
        seconds: wall time of all generations.
        revisions: revisions of the code, latest last; None in checkpoints of older versions.
    """

    generation: int
    progress: Progress
    ticks: int
    seconds: float
    revisions: tuple[str, ...] | None = None


class Trainer(Generic[C]):
    """Runs a training; iterate over :meth:`run`.

    Args:
        spec: the run.
        evaluate: runs an episode.
        conditions: (stage, draw), both from 0 -> what a candidate is put through; draws are
            numbered across generations, and all have the same number of conditions.
        directory: where the log and the checkpoint go; created if missing.
        start: (size,) initial mean; None for the genome's own start.
        robot: digest of the robot; a run does not resume with another one, whatever its name.
        revision: revision of the code, for the record.
        resume: whether to resume the run in the directory.

    Raises:
        TrainingError: ``resume`` is false but the directory holds a run; or it is true and there is
            none, or that run had another spec.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        evaluate: Evaluate[C],
        conditions: Callable[[int, int], tuple[C, ...]],
        directory: Path,
        *,
        start: Array | None = None,
        robot: str | None = None,
        revision: str = "",
        resume: bool = False,
    ) -> None:
        self.spec = spec
        self.revisions: tuple[str, ...] = ()
        """Revisions of the code that ran the generations, latest last."""
        self._revision = revision
        stages = range(len(spec.stages))
        samples = [[conditions(stage, draw) for draw in range(SAMPLES)] for stage in stages]
        self._digests: dict[str, Json] = {
            "conditions": hashlib.sha256(repr(samples).encode()).hexdigest(),
            "robot": robot,
            "start": None if start is None else hashlib.sha256(start.tobytes()).hexdigest(),
        }
        self._evaluate = evaluate
        self._conditions = conditions
        self._directory = directory
        if start is None:
            start = spec.genome.start(np.random.default_rng((spec.seed, 0)))
        self.evolution = Evolution(spec.evolution, start)
        self.progress = Progress()
        self.ticks = 0
        self.seconds = 0.0
        if resume:
            self._continue()
        elif (directory / CHECKPOINT_NAME).exists() or _lines(directory / LOG_NAME)[1:]:
            raise TrainingError(
                f"{directory}: already holds a run. Add --resume to continue it, "
                f"or name another --out."
            )
        with self._writing():
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        ends = ((self.spec.generations, self.evolution.generation), (self.spec.ticks, self.ticks))
        return any(end is not None and so_far >= end for end, so_far in ends)

    def run(self, factory: ExecutorFactory) -> Iterator[Generation]:
        """Yield the log line of each remaining generation.

        Raises:
            TrainingError: the directory cannot be written to (the last checkpoint remains), or
                another run is using it.
        """
        with self._alone(), TaskRunner(factory) as runner:
            self._shorten_log()
            while not self.done:
                line = self._generation(runner)
                with self._writing():
                    with (self._directory / LOG_NAME).open("a", encoding="utf-8") as log:
                        log.write(json.dumps(asdict(line)) + "\n")
                    self._save()
                yield line

    def rewind(self) -> bool:
        """Go back to the last checkpoint and return whether there is one.

        Discards what was begun since: an interrupt may come in the middle of anything.
        """
        if not (self._directory / CHECKPOINT_NAME).is_file():
            return False
        self._continue()
        self._shorten_log()
        return True

    def _generation(self, runner: TaskRunner) -> Generation:
        start = time.monotonic()
        spec, evolution = self.spec, self.evolution
        rng = np.random.default_rng((spec.seed, 1, evolution.generation))
        seeds = [int(seed) for seed in rng.integers(2**62, size=spec.evolution.pairs)]
        stage = self.progress.stage
        first = evolution.generation * spec.draws
        draws = [self._conditions(stage, first + draw) for draw in range(spec.draws)]
        episodes = tuple(
            tuple(zip(draw, map(int, rng.integers(2**31, size=len(draw))), strict=True))
            for draw in draws
        )
        candidates = [
            *((seed, sign, i % spec.draws) for i, seed in enumerate(seeds) for sign in (1, -1)),
            *((0, 0, draw) for draw in range(spec.draws)),
        ]
        task = Task(
            spec.genome,
            spec.stages[stage].reward,
            self._evaluate,
            spec.robot,
            evolution.mean,
            evolution.sigma(self.progress.settled),
            episodes,
        )
        parts = runner.map(
            functools.partial(run_task, task), chunks(candidates, CANDIDATES_PER_TASK)
        )
        scores: list[Score] = [score for part in parts for score in part]
        fitness: FloatArray = np.array([score.fitness for score in scores])
        population, centre = fitness[: 2 * len(seeds)], fitness[2 * len(seeds) :].mean(axis=0)
        evolution.tell(seeds, population, self.progress.settled, draws=spec.draws)
        self.progress.tell(spec.stages, float(centre.min()))
        self.ticks += sum(score.ticks for score in scores)
        seconds = time.monotonic() - start
        self.seconds += seconds
        return Generation(
            generation=evolution.generation,
            stage=stage + 1,
            fitness=float(centre.mean()),
            worst=float(centre.min()),
            population_fitness=float(population.mean()),
            best_fitness=float(population.mean(axis=1).max()),
            sigma=task.sigma,
            ticks=self.ticks,
            seconds=seconds,
            worker_seconds=sum(score.seconds for score in scores),
        )

    def _document(self) -> dict[str, Json]:
        # Through JSON, so that it compares equal to what is read back; without the end, since a run
        # may be continued beyond what was planned, and without the place of the robot's spec.
        document = asdict(replace(self.spec, generations=0))
        del document["ticks"], document["robot"]
        spec: Json = json.loads(json.dumps(document))
        return {"spec": spec, **self._digests}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if (self._directory / CHECKPOINT_NAME).is_file():
                fix = "The checkpoint is safe: fix this and add --resume."
            else:
                fix = "Fix this, or name another --out."
            raise TrainingError(
                f"{self._directory}: cannot be written to: {error.strerror}. {fix}"
            ) from error

    def _save(self) -> None:
        if self.revisions[-1:] != (self._revision,):
            self.revisions += (self._revision,)
        saved = _Saved(
            self.evolution.generation, self.progress, self.ticks, self.seconds, self.revisions
        )
        save_checkpoint(
            self._directory, self.evolution.arrays(), {**self._document(), **asdict(saved)}
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the directory for this run; the kernel releases it however the process ends."""
        with self._writing():
            lock = (self._directory / LOCK_NAME).open("w", encoding="utf-8")
        with lock:
            with self._writing():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise TrainingError(
                        f"{self._directory}: another run is using it. "
                        f"Wait for it to end, or name another --out."
                    ) from None
                (self._directory / LOG_NAME).open("a").close()  # fails now, if it ever will
            yield

    def _continue(self) -> None:
        arrays, document = load_checkpoint(self._directory)
        names = [field.name for field in fields(_Saved)]
        required = ("spec", "conditions", "start", *names[:-1], *self.evolution.arrays())
        missing = [name for name in required if name not in document and name not in arrays]
        if missing:
            raise TrainingError(
                f"{self._directory}: the checkpoint lacks {', '.join(missing)}. "
                f"Continue it with the version that began it, or name another --out."
            )
        ours = self._document()
        theirs = {name: document[name] for name in ours if name in document}
        if isinstance(theirs["spec"], dict):
            theirs["spec"].pop("robot", None)  # of a version that compared its name
        if other := [name for key in theirs for name in _differences(ours[key], theirs[key], key)]:
            raise TrainingError(
                f"{self._directory}: was started with different options: {', '.join(other)}. "
                f"Repeat those options, or name another --out."
            )
        where = str(self._directory)
        state = {name: document[name] for name in names if name in document}
        try:
            saved = decode(_Saved, state, where, "checkpoint")
        except RuleFileError as error:
            raise TrainingError(str(error)) from error
        if saved.generation < 0 or saved.progress.stage not in range(len(self.spec.stages)):
            raise TrainingError(
                f"{where}: checkpoint: generation {saved.generation} in stage "
                f"{saved.progress.stage} is impossible. Name another --out."
            )
        self.evolution.restore(saved.generation, arrays)
        self.progress = saved.progress
        self.ticks, self.seconds = saved.ticks, saved.seconds
        self.revisions = ("unknown",) if saved.revisions is None else saved.revisions

    def _shorten_log(self) -> None:
        """Drop log lines of generations beyond the checkpoint, as left by a killed run."""
        log, generation = self._directory / LOG_NAME, self.evolution.generation
        lines = _lines(log)
        kept = [line for i, line in enumerate(lines, 1) if _generation(line, i) <= generation]
        if kept != lines:
            with self._writing():
                write_atomically(log, "\n".join((*kept, "")).encode(), alone=True)


def _differences(ours: Json, theirs: Json, name: str) -> Iterator[str]:
    """Yield the names of the innermost fields that differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _differences(ours.get(key), theirs.get(key), f"{name}.{key}")
    elif ours != theirs:
        yield name


def _generation(line: str, number: int) -> int:
    """Return the generation that a line of the log is about; the line's number if it is spoiled."""
    try:
        generation = json.loads(line)["generation"]
    except (ValueError, KeyError, TypeError):
        return number
    return generation if isinstance(generation, int) else number


def _lines(log: Path) -> list[str]:
    # A byte that a failing disk spoiled costs its line, not the run.
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return text.splitlines()
