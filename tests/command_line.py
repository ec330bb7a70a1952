"""Shared by the tests of the command line."""


def one_error(code, errors, words):
    """Assert that bad input gives exit code 2 and one line that contains these words."""
    assert code == 2
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]
