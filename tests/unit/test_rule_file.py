"""The rule file: what was saved is loaded, and every bad file is one clear error."""

import hashlib
import io
import os
import pickle
import resource
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from rule_bytes import pack, rule_bytes, unpack
from toys import toy_rule, update_spec

from hebb_controller import rule_file
from hebb_controller.errors import RuleFileError
from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import RULE_KINDS
from hebb_controller.rule import make_rule
from hebb_controller.rule_file import load_rule, save_rule

NAME = "toy.rule.safetensors"
KEPT = rule_bytes(toy_rule())


def same(one, other):
    assert one.header == other.header
    assert len(one.layers) == len(other.layers)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].tobytes() == b[name].tobytes()
            assert a[name].shape == b[name].shape


# --- what is right ---


@pytest.mark.parametrize("kind", RULE_KINDS)
@pytest.mark.parametrize("distribution", ["uniform", "evolved"])
def test_what_was_saved_is_loaded_bit_for_bit(tmp_path, kind, distribution):
    rule = toy_rule(
        kind,
        update=update_spec(trace_window=10.0, decay=0.04, normalisation="clip", bound=3.0),
        initial=InitialSpec(distribution, 0.1),
        hidden=(4, 3),
    )
    path = tmp_path / NAME
    save_rule(rule, path)
    loaded = load_rule(path)
    same(loaded, rule)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]  # nothing is left beside it


def test_a_loaded_rule_can_be_saved_again(tmp_path):
    first, second = tmp_path / NAME, tmp_path / f"again.{NAME}"
    save_rule(toy_rule(), first)
    save_rule(load_rule(first), second)
    same(load_rule(first), load_rule(second))


def test_the_file_is_what_the_format_says(parts):
    document, tensors = parts
    assert set(document) == {
        *("format_version", "kind", "layer_sizes", "update", "initial", "tick_period"),
        *("contract", "provenance", "license"),
    }
    assert document["format_version"] == 1
    assert document["layer_sizes"] == [6, 5, 2]
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        f"layer{k}.{name}": shape
        for k, shape in enumerate([(5, 6), (2, 5)])
        for name in ("A", "B", "C", "D", "eta")
    }


def test_a_file_put_together_by_hand_loads(tmp_path, parts):
    (tmp_path / NAME).write_bytes(pack(*parts))
    same(load_rule(tmp_path / NAME), toy_rule())


def test_sizes_are_counted():
    rule = toy_rule()  # 6-5-2, five tensors
    assert rule.n_synapses == 6 * 5 + 5 * 2
    assert rule.n_parameters == 5 * (6 * 5 + 5 * 2)


def test_a_rule_owns_its_tensors_and_nobody_can_change_them():
    document = toy_rule()
    layers = [{name: t.copy() for name, t in layer.items()} for layer in document.layers]
    rule = make_rule(document.header, layers)
    kept = rule.layers[0]["A"].copy()
    layers[0]["A"][:] = 9.0
    assert rule.layers[0]["A"].tobytes() == kept.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        rule.layers[0]["A"][:] = 0.0
    with pytest.raises(TypeError):
        rule.layers[0]["A"] = kept


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / NAME
    save_rule(toy_rule(seed=1), path)
    save_rule(toy_rule(seed=2), path)
    same(load_rule(path), toy_rule(seed=2))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["rule.safetensors", "a.rule", "a.pt"])
def test_another_name_is_refused_when_saving(tmp_path, name):
    with pytest.raises(RuleFileError, match=r"must end in \.rule\.safetensors"):
        save_rule(toy_rule(), tmp_path / name)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "nowhere" / NAME, tmp_path / "file" / NAME):
        with pytest.raises(RuleFileError, match="there is no directory"):
            save_rule(toy_rule(), place)


def test_the_cutoff_of_estimated_velocities_is_kept_and_absent_where_there_is_none(tmp_path):
    rule = toy_rule()
    assert "velocity_cutoff" not in unpack(rule_bytes(rule))[0]["contract"]
    contract = replace(rule.header.contract, velocity_cutoff=8.0)
    save_rule(replace(rule, header=replace(rule.header, contract=contract)), tmp_path / NAME)
    assert load_rule(tmp_path / NAME).header.contract == contract


# --- what is no rule file at all ---


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RuleFileError, match=r"gone\.rule\.safetensors: no such file"):
        load_rule(tmp_path / "gone.rule.safetensors")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(RuleFileError, match="not a file"):
        load_rule(tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_called_a_pickle_and_not_run(refuse, tmp_path, protocol):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for payload in (Trap(), {"A": np.ones(3)}):
        assert "pickle" in refuse(pickle.dumps(payload, protocol))
    assert not (tmp_path / "sprung").exists()


def test_a_zip_archive_is_called_one(refuse):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    assert "zip archive" in refuse(buffer.getvalue())


def test_a_numpy_file_is_called_one(refuse):
    buffer = io.BytesIO()
    np.save(buffer, np.ones(4))
    assert "numpy array" in refuse(buffer.getvalue())


@pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 8, b"\0" * 100, b"\xff" * 100, b"name: a1\n"])
def test_bytes_that_mean_nothing_are_refused(refuse, data):
    refuse(data)


def test_a_safetensors_file_of_somebody_else_is_told_from_a_rule(refuse, parts):
    assert "without a 'hebb_rule' header" in refuse(pack(None, parts[1]))


@pytest.mark.parametrize("length", [2**20 + 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_length_from_another_world_is_refused(refuse, length):
    refuse(length.to_bytes(8, "little") + KEPT[8:])


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 100])
def test_a_header_length_that_is_too_short_is_refused(refuse, length):
    refuse(length.to_bytes(8, "little") + KEPT[8:])


def test_a_header_longer_than_the_file_is_called_truncated(refuse):
    assert "truncated" in refuse(len(KEPT).to_bytes(8, "little") + KEPT[8:])


def test_a_file_cut_at_any_length_is_refused(refuse):
    header = 8 + int.from_bytes(KEPT[:8], "little")
    lengths = {*range(40), *range(40, len(KEPT), 97), *range(header - 9, header + 9)}
    for length in sorted({*lengths, *range(len(KEPT) - 9, len(KEPT))}):
        refuse(KEPT[:length])


def test_bytes_behind_the_end_are_refused(refuse):
    refuse(KEPT + b"\0")


def test_a_file_above_the_cap_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / NAME
    with path.open("wb") as file:
        file.write(KEPT)
        file.truncate(8 * 2**30)  # a sparse file of 8 GiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RuleFileError, match="larger than 29360128 bytes"):
        load_rule(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 4 * rule_file.LAYOUT.max_bytes / 1024


@pytest.mark.timeout(5)
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "pipe.rule.safetensors"
    os.mkfifo(path)
    with pytest.raises(RuleFileError, match="not a file"):
        load_rule(path)
