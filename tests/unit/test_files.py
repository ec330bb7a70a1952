"""Files are read up to a limit, and written whole or not at all."""

import os

import pytest

from hebb_controller.errors import HebbError, RuleFileError, SignatureError
from hebb_controller.files import read_bounded, write_atomically


def test_of_a_file_that_is_too_large_one_byte_more_than_allowed_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5, HebbError) == b"12345"
    assert read_bounded(path, 3, HebbError) == b"1234"
    assert read_bounded(path, None, HebbError) == b"12345"


@pytest.mark.parametrize("refused", [RuleFileError, SignatureError])
def test_what_is_no_file_is_refused_by_the_error_asked_for(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path, "not a file"), (tmp_path / "pipe", "not a file")):
        with pytest.raises(refused, match=why):
            read_bounded(path, 3, refused)
    with pytest.raises(refused, match="no such file"):
        read_bounded(tmp_path / "absent", 3, refused)


@pytest.mark.parametrize("alone", [False, True])
def test_a_file_is_replaced_as_a_whole(tmp_path, alone):
    path = tmp_path / "file"
    for data in (b"first", b"2nd"):
        write_atomically(path, data, alone=alone)
        assert path.read_bytes() == data
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("alone", [False, True])
def test_what_cannot_be_put_in_place_leaves_nothing_behind(tmp_path, alone):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "taken", b"data", alone=alone)
    assert [left.name for left in tmp_path.iterdir()] == ["taken"]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    """Else a power cut may leave the name without the data."""
    path, synced = tmp_path / "file", []

    def sync(descriptor):
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(path, b"data")
    assert synced == [(4, False)]
