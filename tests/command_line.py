"""What tests of the command line share."""


def one_error(code, errors, words):
    """Say that bad input was answered by one line that holds these words, and exit code 2."""
    assert code == 2
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]
