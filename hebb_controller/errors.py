"""The exceptions of hebb_controller.

Every error that a caller can provoke is a :class:`HebbError`; a subclass also inherits the builtin
that a caller would expect::

    HebbError
    ├── RobotSpecError (ValueError)      a robot spec is unreadable, incomplete or inconsistent
    ├── RuleFileError (ValueError)       a rule file is unreadable, malformed or not finite
    ├── RecordingError (ValueError)      a recording is unreadable, or cannot be written or replayed
    ├── SignatureError (ValueError)      a required signature is missing, or not by a trusted key
    ├── ContractError (ValueError)       a rule does not fit a robot
    ├── ShapeError (ValueError)          an array disagrees with the declared sizes
    ├── DamageError (ValueError)         a damage is unknown, or impossible on the robot
    ├── ScenarioError (ValueError)       a scenario file is unreadable, incomplete or invalid
    ├── MessageError (ValueError)        a message from a robot or simulator is unusable
    ├── ParameterError (ValueError)      a node parameter's value is not allowed (now)
    ├── TrainingError (ValueError)       unusable training options or an unusable checkpoint
    ├── ShareError (FileNotFoundError)   a file that ships with the package is missing
    └── MissingExtraError (ImportError)  an optional dependency is not installed

``node`` defines more for failures and timeouts at run time, each next to the code that raises it.

A message says what is wrong, where, and how to fix it.
"""


class HebbError(Exception):
    """Base of every error raised on purpose by this project."""


class RobotSpecError(HebbError, ValueError):
    """A robot spec is unreadable, incomplete or inconsistent."""


class RuleFileError(HebbError, ValueError):
    """A rule file is unreadable, malformed or holds non-finite numbers."""


class RecordingError(HebbError, ValueError):
    """A recording is unreadable, from another network, or cannot be written."""


class SignatureError(HebbError, ValueError):
    """A file is not signed by a trusted key, or a key cannot be used."""


class ContractError(HebbError, ValueError):
    """A rule was trained under a contract that this robot does not offer."""


class ShapeError(HebbError, ValueError):
    """An array disagrees with the declared sizes."""


class DamageError(HebbError, ValueError):
    """A damage is unknown, or impossible on this robot."""


class ScenarioError(HebbError, ValueError):
    """A scenario file is unreadable, incomplete or invalid; the message names the line."""


class MessageError(HebbError, ValueError):
    """A message from a robot or simulator is unusable: wrong lengths, or a missing value."""


class ParameterError(HebbError, ValueError):
    """A node parameter has, or was to be set to, a value that is not allowed, or not now."""


class TrainingError(HebbError, ValueError):
    """Unusable training options, or a checkpoint that cannot be continued."""


class ShareError(HebbError, FileNotFoundError):
    """A file that ships with the package is missing."""


class MissingExtraError(HebbError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the distribution that could not be imported.
        extra: the extra of this project that provides it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed. Fix: pip install '.[{extra}]' in a checkout of hebb_controller"
        )
