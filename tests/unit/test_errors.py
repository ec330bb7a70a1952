"""Errors can be caught as ours, and as what a caller expects."""

import pytest

from hebb_controller import errors, share
from hebb_controller.errors import HebbError, MissingExtraError, ShareError


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("RobotSpecError", ValueError),
        ("RuleFileError", ValueError),
        ("ContractError", ValueError),
        ("SignatureError", ValueError),
        ("ShapeError", ValueError),
        ("DamageError", ValueError),
        ("ScenarioError", ValueError),
        ("MessageError", ValueError),
        ("TrainingError", ValueError),
        ("ShareError", FileNotFoundError),
        ("MissingExtraError", ImportError),
    ],
)
def test_every_error_is_ours_and_a_builtin(name, builtin):
    kind = getattr(errors, name)
    assert issubclass(kind, HebbError)
    assert issubclass(kind, builtin)


def test_a_missing_extra_says_what_to_install():
    message = str(MissingExtraError("torch", "train"))
    assert (
        message
        == "torch is not installed. Fix: pip install '.[train]' in a checkout of hebb_controller"
    )


def test_a_shipped_file_that_is_not_there_is_an_error_with_its_neighbours():
    with pytest.raises(ShareError, match=r"a9\.yaml: no such file\. Available: .*a1\.yaml"):
        share.shipped("config", "robots", "a9.yaml")
    assert share.shipped("config", "robots", "a1.yaml").is_file()
