"""The exceptions of hebb_controller.

Every error that a caller can provoke is a :class:`HebbError`; a subclass also inherits the builtin
that a caller would expect::

    HebbError
    ├── RobotSpecError (ValueError)      a robot spec is unreadable, incomplete or inconsistent
    ├── RuleFileError (ValueError)       a rule file is unreadable, malformed or not finite
    ├── RecordingError (ValueError)      a recording is unreadable, or cannot be written or replayed
    ├── SignatureError (ValueError)      a file that has to be signed is not, or not by a trusted key
    ├── ContractError (ValueError)       a rule and a robot do not belong together
    ├── ShapeError (ValueError)          an array disagrees with the sizes that were declared
    ├── DamageError (ValueError)         an unknown damage, or one that the robot cannot have
    ├── ScenarioError (ValueError)       a scenario file is unreadable, incomplete or wrong somewhere
    ├── MessageError (ValueError)        a message of a robot or simulator cannot be used
    ├── ParameterError (ValueError)      a node's parameter has a value that it cannot have (now)
    ├── TrainingError (ValueError)       unusable training options or an unusable checkpoint
    ├── ShareError (FileNotFoundError)   a file that ships with the package is not where it should be
    └── MissingExtraError (ImportError)  an optional dependency is not installed

``node`` has some more for what fails or takes too long while it runs, each beside the code that raises
it.

A message says what is wrong, where, and how to mend it.
"""


class HebbError(Exception):
    """Base of every error raised on purpose by this project."""


class RobotSpecError(HebbError, ValueError):
    """A robot spec is unreadable, incomplete or inconsistent."""


class RuleFileError(HebbError, ValueError):
    """A rule file is unreadable, malformed or holds numbers that are not finite."""


class RecordingError(HebbError, ValueError):
    """A recording is unreadable, of another network, or cannot be written."""


class SignatureError(HebbError, ValueError):
    """A file is not signed by a key that is trusted, or a key cannot be used."""


class ContractError(HebbError, ValueError):
    """A rule was trained under a contract that this robot does not offer."""


class ShapeError(HebbError, ValueError):
    """An array disagrees with the sizes that were declared."""


class DamageError(HebbError, ValueError):
    """An unknown damage, or one that this robot cannot have."""


class ScenarioError(HebbError, ValueError):
    """A scenario file is unreadable, incomplete or wrong somewhere; the message names the line."""


class MessageError(HebbError, ValueError):
    """A message of a robot or a simulator cannot be used: wrong lengths, or a value is absent."""


class ParameterError(HebbError, ValueError):
    """A parameter of a node has, or was to be given, a value that it cannot have, or not now."""


class TrainingError(HebbError, ValueError):
    """Unusable training options, or a checkpoint that cannot be continued."""


class ShareError(HebbError, FileNotFoundError):
    """A file that ships with the package is not where it should be."""


class MissingExtraError(HebbError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the distribution that could not be imported.
        extra: the extra of this project that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed. Fix: pip install '.[{extra}]' in a checkout of hebb_controller"
        )
