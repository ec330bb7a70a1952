"""Signed rule files: what was changed, signed by others or not signed is refused, or warned about."""

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner
from rule_bytes import rule_bytes
from toys import toy_robot, toy_rule

from hebb_controller import cli, signature
from hebb_controller.cli.options import trust_options
from hebb_controller.errors import HebbError, MissingExtraError, RuleFileError, SignatureError
from hebb_controller.rule_file import load_rule
from hebb_controller.signature import Trust

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEPT = rule_bytes(toy_rule())


@pytest.fixture
def keys(tmp_path):
    """Return a pair of keys: private, public."""
    return signature.make_keys(tmp_path / "fleet")


@pytest.fixture
def rule(tmp_path, keys):
    """Return the path of a rule file that is signed."""
    path = tmp_path / "toy.rule.safetensors"
    path.write_bytes(KEPT)
    signature.sign(path, keys[0])
    return path


def rsa_public(directory):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    path = directory / "rsa.pub"
    path.write_bytes(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def tampered(rule, key):
    data = bytearray(rule.read_bytes())
    data[-1] ^= 1  # the lowest bit of a coefficient's exponent: still a rule, and a finite one
    rule.write_bytes(data)
    return key


def not_signed(rule, key):
    signature.signature_path(rule).unlink()
    return key


def truncated(rule, key):
    path = signature.signature_path(rule)
    path.write_bytes(path.read_bytes()[:-1])
    return key


def too_long(rule, key):
    path = signature.signature_path(rule)
    path.write_bytes(path.read_bytes() * 1000)
    return key


def a_directory(rule, key):
    signature.signature_path(rule).unlink()
    signature.signature_path(rule).mkdir()
    return key


def a_pipe(rule, key):
    signature.signature_path(rule).unlink()
    os.mkfifo(signature.signature_path(rule))
    return key


def another_key(rule, key):
    return signature.make_keys(rule.parent / "stranger")[1]


def another_algorithm(rule, key):
    return rsa_public(rule.parent)


def the_private_key(rule, key):
    return key.with_suffix(".pem")


def no_key(rule, key):
    return key.with_name("gone.pub")


UNTRUSTED = {
    tampered: "changed after signing, or signed by someone else",
    not_signed: "is not signed: there is no toy.rule.safetensors.sig beside it",
    truncated: "has 63 bytes; a signature has 64",
    too_long: "has 65 bytes; a signature has 64",
    a_directory: "toy.rule.safetensors.sig: not a file",
    a_pipe: "toy.rule.safetensors.sig: not a file",
    another_key: "does not match any trusted key",
    another_algorithm: "rsa.pub: a public key, but not an ed25519 one",
    the_private_key: "fleet.pem: not a public key in PEM",
    no_key: "gone.pub: no such file",
}


def test_what_is_signed_by_a_trusted_key_loads_without_a_warning(rule, keys):
    said = []
    stranger = signature.make_keys(rule.parent / "stranger")[1]
    for public in ((keys[1],), (stranger, keys[1])):
        for policy in signature.POLICIES:
            assert load_rule(rule, trust=Trust(policy, public, warn=said.append)).sha256
    assert not said


@pytest.mark.parametrize("spoil", UNTRUSTED, ids=lambda spoil: spoil.__name__)
def test_what_is_not_is_refused_under_enforce_and_warned_about_under_warn(rule, keys, spoil):
    said = []
    key = spoil(rule, keys[1])
    with pytest.raises(SignatureError) as caught:
        load_rule(rule, trust=Trust("enforce", (key,), warn=said.append))
    assert UNTRUSTED[spoil] in str(caught.value)
    assert not said
    loaded = load_rule(rule, trust=Trust("warn", (key,), warn=said.append))
    assert loaded.n_synapses == toy_rule().n_synapses
    assert len(said) == 1
    assert UNTRUSTED[spoil] in said[0]
    assert said[0].startswith(f"{rule}: loaded anyway: ")
    load_rule(rule, trust=Trust("off", (key,), warn=said.append))
    assert len(said) == 1


def test_a_policy_without_a_key_trusts_nobody(rule):
    with pytest.raises(SignatureError, match="no public key given"):
        load_rule(rule, trust=Trust("enforce"))


def test_a_policy_that_is_misspelt_is_not_taken_for_off():
    with pytest.raises(SignatureError, match=r"'enforced' is unknown\. Known: off, warn, enforce"):
        Trust("enforced")


def test_the_signature_is_checked_before_anything_is_parsed(rule, keys):
    rule.write_bytes(b"\x00" * 100)
    with pytest.raises(SignatureError):
        load_rule(rule, trust=Trust("enforce", (keys[1],)))


def test_the_signature_of_one_file_does_not_serve_another(rule, keys, tmp_path):
    other = tmp_path / "other.rule.safetensors"
    other.write_bytes(rule_bytes(toy_rule(seed=1)))
    shutil.copy(signature.signature_path(rule), signature.signature_path(other))
    with pytest.raises(SignatureError, match="changed after signing"):
        load_rule(other, trust=Trust("enforce", (keys[1],)))


def test_without_cryptography_enforce_refuses_and_warn_warns(rule, keys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    said = []
    with pytest.raises(MissingExtraError, match=r"\.\[sign\]"):
        load_rule(rule, trust=Trust("enforce", (keys[1],)))
    load_rule(rule, trust=Trust("warn", (keys[1],), warn=said.append))
    assert "cryptography is not installed" in said[0]
    load_rule(rule, trust=Trust("off", (keys[1],)))
    load_rule(rule)


def test_a_private_key_is_for_its_owner_and_never_written_over(tmp_path):
    private, public = signature.make_keys(tmp_path / "mine")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(SignatureError, match=r"mine\.pem: already exists"):
        signature.make_keys(tmp_path / "mine")
    private.unlink()
    with pytest.raises(SignatureError, match=r"mine\.pub: already exists"):
        signature.make_keys(tmp_path / "mine")
    assert not private.exists()
    assert public.read_bytes() == before[1]
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SignatureError, match=r"link\.pem: already exists"):
        signature.make_keys(tmp_path / "link")


def test_a_key_that_cannot_sign_is_refused_and_leaves_the_old_signature(rule, keys, tmp_path):
    before = signature.signature_path(rule).read_bytes()
    for name, data, words in (
        ("public.pem", keys[1].read_bytes(), "not a private key in PEM"),
        ("noise.pem", b"\xff" * 100, "not a private key in PEM"),
        ("empty.pem", b"", "not a private key in PEM"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SignatureError, match=words):
            signature.sign(rule, tmp_path / name)
    locked = serialization.load_pem_private_key(keys[0].read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    with pytest.raises(SignatureError, match="is encrypted"):
        signature.sign(rule, tmp_path / "locked.pem")
    assert signature.signature_path(rule).read_bytes() == before


def openssl(*words):
    return subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, check=False, text=True
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_accepts_our_signature_and_refuses_it_for_another_file(rule, keys):
    words = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", keys[1], "-sigfile")
    words = (*words, signature.signature_path(rule), "-in", rule)
    done = openssl(*words)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    tampered(rule, keys[1])
    assert openssl(*words).returncode != 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_we_accept_keys_and_signatures_that_openssl_makes(tmp_path):
    path = tmp_path / "theirs.rule.safetensors"
    path.write_bytes(KEPT)
    private, public = tmp_path / "theirs.pem", tmp_path / "theirs.pub"
    place = signature.signature_path(path)
    for words in (
        ("genpkey", "-algorithm", "ed25519", "-out", private),
        ("pkey", "-in", private, "-pubout", "-out", public),
        ("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", path, "-out", place),
    ):
        done = openssl(*words)
        assert done.returncode == 0, done.stderr
    load_rule(path, trust=Trust("enforce", (public,)))
    theirs = place.read_bytes()
    assert signature.sign(path, private) == place
    assert place.read_bytes() == theirs  # ed25519 draws no random numbers


def test_the_commands_make_keys_and_sign(tmp_path):
    path = tmp_path / "toy.rule.safetensors"
    path.write_bytes(KEPT)
    run = CliRunner().invoke
    assert run(cli.hebb, ["sign", "keygen", str(tmp_path / "k")]).exit_code == 0
    done = run(cli.hebb, ["sign", "file", str(path), "--key", str(tmp_path / "k.pem")])
    assert (done.exit_code, done.output) == (0, f"{path}.sig\n")
    load_rule(path, trust=Trust("enforce", (tmp_path / "k.pub",)))
    again = run(cli.hebb, ["sign", "keygen", str(tmp_path / "k")])
    assert isinstance(again.exception, HebbError)


def test_the_options_become_one_value_that_warns_on_stderr(rule, keys):
    import click

    @click.command()
    @trust_options
    @click.option("--other", default=3)
    def command(trust, other):
        click.echo(f"{trust.policy} {len(trust.public_keys)} {other}")
        load_rule(rule, trust=trust)

    run = CliRunner().invoke
    assert run(command, []).output == "off 0 3\n"
    key = str(keys[1])
    words = ["--signature-policy", "enforce", "--public-key", key, "--public-key", key]
    assert run(command, [*words, "--other", "4"]).output == "enforce 2 4\n"
    assert run(command, ["--signature-policy", "on"]).exit_code == 2
    assert run(command, ["--public-key", key]).exit_code == 2  # it would check nothing
    tampered(rule, keys[1])
    done = run(command, ["--signature-policy", "warn", "--public-key", key])
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: {rule}: loaded anyway: ")
    assert isinstance(run(command, words).exception, SignatureError)


def test_the_signature_is_beside_the_file_that_a_link_points_to(rule, keys, tmp_path):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current.rule.safetensors"
    link.symlink_to(rule)
    signature.signature_path(rule).unlink()
    assert signature.sign(link, keys[0]) == signature.signature_path(rule)
    load_rule(link, trust=Trust("enforce", (keys[1],)))


# The node


@pytest.fixture
def node():
    """Return the node's modules: parameters, rule_loading."""
    pytest.importorskip("rclpy")
    from hebb_controller.node import parameters, rule_loading

    return parameters, rule_loading


def test_the_node_loads_what_its_key_has_signed_and_nothing_else(node, rule, keys):
    parameters, loading = node
    own = parameters.Settings(signature_policy="enforce", trusted_key=str(keys[1]))
    trust = loading.trust_for(own)
    assert loading.load(rule, toy_robot(), trust).path == str(rule)
    tampered(rule, keys[1])
    with pytest.raises(SignatureError, match="changed after signing"):
        loading.load(rule, toy_robot(), trust)


def test_the_node_logs_a_warning_under_warn(node, rule, keys, monkeypatch):
    parameters, loading = node
    said = []

    class Logger:
        warning = staticmethod(said.append)

    monkeypatch.setattr(loading, "get_logger", lambda name: Logger)
    own = parameters.Settings(signature_policy="warn", trusted_key=str(keys[1]))
    tampered(rule, keys[1])
    loading.load(rule, toy_robot(), loading.trust_for(own))
    assert len(said) == 1
    assert "loaded anyway" in said[0]


@pytest.mark.parametrize("policy", ["off", "warn", "enforce"])
def test_the_node_passes_its_policy_on_to_the_child_process(node, rule, keys, monkeypatch, policy):
    parameters, loading = node
    noted, answer = rule.parent / "argv", json.dumps({"sha256": load_rule(rule).sha256})
    python = rule.parent / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {noted}\necho '{answer}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    own = parameters.Settings(signature_policy=policy, trusted_key=str(keys[1]))
    loading.load_for_swap(str(rule), own, toy_robot(), cancelled=lambda: False)
    words = noted.read_text().splitlines()
    assert words[:4] == ["-c", loading.VALIDATOR, "verify", str(rule)]
    wanted = ["--signature-policy", policy, "--public-key", str(keys[1])]
    assert words[-4:] == wanted if policy != "off" else "--signature-policy" not in words


def test_a_child_that_finds_nothing_wrong_does_not_make_a_swap_trusted(
    node, rule, keys, tmp_path, monkeypatch
):
    parameters, loading = node
    tampered(rule, keys[1])
    sha256 = load_rule(rule).sha256
    monkeypatch.setattr(loading, "validate_rule_in_child", lambda *_, **__: sha256)
    own = parameters.Settings(signature_policy="enforce", trusted_key=str(keys[1]))
    with pytest.raises(SignatureError, match="changed after signing"):
        loading.load_for_swap(str(rule), own, toy_robot(), cancelled=lambda: False)


def test_a_node_without_a_key_is_not_configured_under_a_policy(node):
    parameters, _ = node
    for policy in ("warn", "enforce"):
        own = parameters.Settings(signature_policy=policy, rule_file="x.rule.safetensors")
        assert own.refusal().startswith(f"signature_policy {policy} needs trusted_key.")
    assert parameters.Settings(rule_file="x.rule.safetensors").refusal() == ""
    assert "Known: off, warn, enforce" in parameters.Settings(signature_policy="on").refusal()
    for name in ("signature_policy", "trusted_key"):  # else whoever can swap could switch it off
        assert not parameters.PARAMETERS[name].live


def test_the_first_rule_of_a_node_is_checked_like_those_that_it_swaps_to(
    node, rule, keys, robot_file
):
    from hebb_controller.node.drive import Drive

    own = node[0].Settings(
        robot=robot_file,
        rule_file=str(rule),
        signature_policy="enforce",
        trusted_key=str(keys[1]),
    )
    tampered(rule, keys[1])
    with pytest.raises(SignatureError, match="changed after signing"):
        Drive(None, own, print, print)  # refused before it touches ROS


def test_a_swap_is_refused_by_the_child_process_for_its_signature(node, rule, keys, robot_file):
    parameters, loading = node
    own = parameters.Settings(
        robot=robot_file, signature_policy="enforce", trusted_key=str(keys[1])
    )
    loaded = loading.load_for_swap(str(rule), own, toy_robot(), cancelled=lambda: False)
    assert loaded.path == str(rule)
    tampered(rule, keys[1])
    with pytest.raises(RuleFileError, match="changed after signing"):
        loading.load_for_swap(str(rule), own, toy_robot(), cancelled=lambda: False)
