"""What the tests of rule files share."""

import pytest
from rule_bytes import rule_bytes, unpack
from toys import toy_rule

from hebb_controller.errors import HebbError, RuleFileError
from hebb_controller.rule_file import load_rule


@pytest.fixture
def parts():
    """Return the document and the tensors of a valid file, free to be changed."""
    return unpack(rule_bytes(toy_rule()))


@pytest.fixture(scope="module")
def refuse(tmp_path_factory):
    """Return a function that checks that bytes are refused, and returns the message."""
    path = tmp_path_factory.mktemp("refused") / "toy.rule.safetensors"

    def check(data: bytes, kind: type[HebbError] = RuleFileError) -> str:
        path.write_bytes(data)
        with pytest.raises(HebbError) as caught:
            load_rule(path)
        assert type(caught.value) is kind
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert len(message) < len(str(path)) + 400
        return message

    return check
