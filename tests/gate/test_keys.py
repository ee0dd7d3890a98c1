"""Keys and the revocation list: read where only their owner can write, signed, growing, and never assumed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.certificates.certificate_case import demands, make
from vla_agent.cli import main
from vla_agent.errors import CertificateError
from vla_agent.files.canonical_json import canonical, readable
from vla_agent.gate.certificate import keys, revocations
from vla_agent.gate.certificate.certificate import sign, write_certificate
from vla_agent.gate.certificate.demands import read_demands, write_demands
from vla_agent.gate.certificate.envelope import seal
from vla_agent.gate.certificate.guarded_files import read_guarded, require_guarded
from vla_agent.gate.certificate.revocable import resolve, take_over

ID, OTHER, DIGEST = "a1" * 16, "b2" * 16, "c3" * 32


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of keys with the key ``lab``."""
    keys.create("lab", tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def robot(folder, tmp_path) -> Path:
    """The folder of a robot that trusts ``lab`` and has its list."""
    keys.trust(folder / "lab.pub", tmp_path / "robot")
    revocations.import_list(folder / "revoked.json", tmp_path / "robot")
    return tmp_path / "robot"


def refusal(function, *arguments, **options) -> CertificateError:
    with pytest.raises(CertificateError) as error:
        function(*arguments, **options)
    assert error.value.remedy and error.value.expected and error.value.found is not None
    return error.value


def make_foreign(path: Path, monkeypatch) -> None:
    """Let a file or folder belong to a user who is neither this one nor root."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_not_read(tmp_path, mode):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    file.chmod(mode)
    error = refusal(read_guarded, file, 5)
    assert error.key == "permissions" and error.found == oct(mode) and "others could have" in error.what
    assert "go-w " in error.remedy and "revoke" not in error.remedy, "it is no secret"
    file.chmod(0o644)
    assert read_guarded(file, 5) == b"12345"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610])
def test_a_secret_that_others_can_read_is_not_read(tmp_path, mode):
    file = tmp_path / "file"
    file.write_bytes(b"1")
    file.chmod(mode)
    error = refusal(read_guarded, file, 5, secret=True)
    assert error.expected == "0600" and "revoke the key" in error.remedy
    assert read_guarded(file, 5) == b"1"
    file.chmod(0o600)
    assert read_guarded(file, 5, secret=True) == b"1"


def test_a_file_of_another_user_is_not_read(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"1")
    make_foreign(file, monkeypatch)
    error = refusal(read_guarded, file, 5)
    assert error.key == "owner" and "others could have" in error.what


def test_a_file_of_root_is_read(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert read_guarded(Path("/etc/passwd"), 2**20)


def test_no_file_stays_open(tmp_path):
    file, before = tmp_path / "file", os.listdir("/proc/self/fd")
    file.write_bytes(b"12")
    assert read_guarded(file, 5) == b"12"
    refusal(read_guarded, file, 1)
    refusal(read_guarded, tmp_path, 9)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_only_a_regular_file_of_the_right_size_is_read(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"123456")
    assert refusal(read_guarded, file, 5).key == "size" and read_guarded(file, 6) == b"123456"
    (tmp_path / "link").symlink_to(file)
    error = refusal(read_guarded, tmp_path / "link", 9)
    assert error.found == "a link" and "not as it should be" in error.what
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refusal(read_guarded, tmp_path / "pipe", 9).key == "kind"
    assert refusal(read_guarded, tmp_path, 9).key == "kind"
    with pytest.raises(FileNotFoundError):
        read_guarded(tmp_path / "none", 9)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_is_not_used(tmp_path, mode):
    place = tmp_path / "place"
    require_guarded(place)
    place.mkdir()
    place.chmod(mode)
    assert refusal(require_guarded, place).key == "permissions"
    place.chmod(0o755)
    require_guarded(place)


def test_a_folder_of_another_user_or_behind_a_link_is_not_used(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "file").write_bytes(b"")
    assert refusal(require_guarded, tmp_path / "link").found == "a link"
    assert refusal(require_guarded, tmp_path / "file").found == "no folder"
    make_foreign(place, monkeypatch)
    assert refusal(require_guarded, place).key == "owner"


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o2770])
def test_a_folder_below_one_that_others_can_write_is_not_used(tmp_path, mode):
    place = tmp_path / "above" / "between" / "place"
    missing = place.parent / "missing"
    place.mkdir(parents=True)
    above = place.parent.parent
    above.chmod(mode)
    for folder in (place, missing):
        error = refusal(require_guarded, folder)
        assert error.file == str(above) and error.key == "permissions"
    refusal(keys.create, "lab", missing)
    assert not missing.exists()
    for allowed in (0o700, 0o750, 0o755, 0o1777, 0o1770):  # homes, and sticky ones as /tmp
        above.chmod(allowed)
        require_guarded(place)
        require_guarded(missing)


def test_a_folder_below_one_of_another_user_is_not_used(tmp_path, monkeypatch):
    place = tmp_path / "above" / "place"
    place.mkdir(parents=True)
    place.parent.chmod(0o1777)
    make_foreign(place.parent, monkeypatch)
    assert refusal(require_guarded, place).key == "owner"


def test_a_folder_below_a_link_that_others_could_exchange_is_not_used(tmp_path):
    place = tmp_path / "real" / "place"
    place.mkdir(parents=True)
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "link").symlink_to(place.parent)
    require_guarded(shared / "link" / "place")
    shared.chmod(0o775)
    assert refusal(require_guarded, shared / "link" / "place").file == str(shared)
    require_guarded(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="a link of another user")
def test_a_folder_below_a_link_of_another_user_is_not_used(tmp_path):
    place, link = tmp_path / "real" / "place", tmp_path / "link"
    place.mkdir(parents=True)
    link.symlink_to(place.parent)
    require_guarded(link / "place")
    os.lchown(link, 12345, -1)
    error = refusal(require_guarded, link / "place")
    assert error.key == "owner" and error.file == str(link)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_are_private_and_never_overwritten(folder):
    private, before = folder / "lab.key", (folder / "lab.key").read_bytes()
    assert private.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "lab.pub").stat().st_mode & 0o777 == 0o644
    assert refusal(keys.create, "lab", folder).found == "lab"
    assert private.read_bytes() == before
    assert keys.load_private("lab", folder).public_key() == keys.trusted(folder)[keys.fingerprint(
        keys.load_private("lab", folder).public_key())].public  # fmt: skip


def test_a_new_key_is_never_open_to_others_not_even_while_it_is_written(tmp_path, monkeypatch):
    chmod, before = Path.chmod, {}

    def noted(self, mode, **more):
        before[self.name] = self.stat().st_mode & 0o777
        chmod(self, mode, **more)

    monkeypatch.setattr(Path, "chmod", noted)
    keys.create("lab", tmp_path / "keys")
    assert (before["lab.key"], before["lab.pub"]) == (0o600, 0o600)


@pytest.mark.parametrize("name", ["", ".x", "a/b", "../x", "a b", "x" * 65, "-x"])
def test_a_key_s_name_is_plain(tmp_path, name):
    assert refusal(keys.create, name, tmp_path).key == "NAME"
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_closed_whatever_the_umask(tmp_path):
    """It would be refused otherwise."""
    before = os.umask(0)
    try:
        keys.create("lab", tmp_path / "keys")
        keys.trust(tmp_path / "keys" / "lab.pub", tmp_path / "robot")
        revocations.import_list(tmp_path / "keys" / "revoked.json", tmp_path / "robot")
        keys.revoke(ID, "lost", tmp_path / "keys")
        write_demands(demands(), tmp_path / "robot")
        keys.create("lab", tmp_path / "config" / "vla-agent" / "keys")
    finally:
        os.umask(before)
    assert keys.load_private("lab", tmp_path / "config" / "vla-agent" / "keys")
    assert keys.revoked(tmp_path / "keys") == {ID: "lost"} and keys.revoked(tmp_path / "robot") == {}
    assert keys.load_private("lab", tmp_path / "keys") and read_demands("panda", tmp_path / "robot")
    (tmp_path / "robot" / "revoked.json").write_bytes((tmp_path / "keys" / "revoked.json").read_bytes())
    assert keys.revoked(tmp_path / "robot") == {ID: "lost"}


def test_the_longest_name_is_taken(tmp_path):
    assert keys.create("x" * 64, tmp_path / "keys").name == "x" * 64


def test_signed_bytes_have_one_signature(folder):
    private = keys.load_private("lab", folder)
    signature = keys.sign_bytes(private, b"data")
    public = private.public_key()
    assert keys.verify_bytes(public, b"data", signature)
    for wrong in (
        signature[:-2],
        signature + "\n",
        " " + signature,
        signature.replace("=", ""),
        "",
        "é",
        signature[1:],
        None,
    ):
        assert not keys.verify_bytes(public, b"data", wrong)
    assert not keys.verify_bytes(public, b"Data", signature)
    assert not keys.verify_bytes(Ed25519PrivateKey.generate().public_key(), b"data", signature)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_private_key_that_others_can_read_signs_nothing(folder, mode):
    (folder / "lab.key").chmod(mode)
    assert refusal(keys.load_private, "lab", folder).key == "permissions"
    (folder / "lab.key").chmod(0o600)
    keys.load_private("lab", folder)


def test_only_ed25519_keys_are_keys(folder, tmp_path):
    other = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for content in (pem, b"", b"x"):
        (folder / "lab.key").write_bytes(content)
        assert "cannot be read" in refusal(keys.load_private, "lab", folder).what
    for content in (public, b"", b"x" * 20_000):
        (tmp_path / "other.pub").write_bytes(content)
        refusal(keys.trust, tmp_path / "other.pub", folder)
        (folder / "lab.pub").write_bytes(content)
        refusal(keys.trusted, folder)
    assert "cannot be read" in refusal(keys.read_public, tmp_path / "none.pub").what


def test_a_key_s_file_is_small(folder, tmp_path):
    for size, says in ((16_384, "cannot be read"), (16_385, "16,384 bytes")):
        for file in (folder / "lab.pub", folder / "lab.key", tmp_path / "sent.pub"):
            file.write_bytes(b" " * size)
        for use, arguments in ((keys.load_private, ("lab", folder)), (keys.trusted, (folder,))):
            assert says.replace(",", "") in str(refusal(use, *arguments)).replace(",", "")
        assert says in str(refusal(keys.trust, tmp_path / "sent.pub", tmp_path / "robot"))


def test_a_missing_private_key_says_which_there_are(folder):
    (folder / "seen.pub").write_bytes((folder / "lab.pub").read_bytes())
    keys.create("second", folder)
    assert refusal(keys.load_private, "mine", folder).expected == "lab, second"


def test_trusted_keys_have_one_name_each(folder, tmp_path):
    robot = tmp_path / "robot"
    assert keys.trusted(robot) == {}
    key = keys.trust(folder / "lab.pub", robot)
    assert not key.private and keys.trusted(robot)[key.fingerprint].name == "lab"
    assert (robot.stat().st_mode & 0o777, (robot / "trusted").stat().st_mode & 0o777) == (0o700, 0o700)
    assert keys.trust(folder / "lab.pub", robot).fingerprint == key.fingerprint
    keys.create("lab", tmp_path / "other")
    error = refusal(keys.trust, tmp_path / "other" / "lab.pub", robot)
    assert "another key of that name" in error.what and error.expected == key.fingerprint
    (tmp_path / "a b.pub").write_bytes((folder / "lab.pub").read_bytes())
    assert refusal(keys.trust, tmp_path / "a b.pub", robot).key == "FILE"
    assert [k.private for k in keys.trusted(folder).values()] == [True]


@pytest.mark.parametrize("place", [".", "trusted"])
def test_keys_that_others_could_have_put_there_are_not_trusted(folder, robot, tmp_path, place):
    for mode, refuses in ((0o777, True), (0o755, False)):
        (robot / place).chmod(mode)
        for use in (keys.trusted, lambda where: keys.trust(folder / "lab.pub", where)):
            if refuses:
                assert refusal(use, robot).key == "permissions"
            else:
                use(robot)
    (robot / place / "planted.pub").symlink_to(folder / "lab.pub")
    assert refusal(keys.trusted, robot).found == "a link"


def test_a_folder_that_others_can_write_gets_no_key(folder, tmp_path):
    folder.chmod(0o777)
    for use in (keys.create, keys.load_private):
        assert refusal(use, "lab", folder).key == "permissions"


def test_the_folder_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "a"))
    assert keys.keys_folder() == tmp_path / "a"
    monkeypatch.setenv("VLA_AGENT_KEYS", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keys.keys_folder() == tmp_path / "vla-agent" / "keys"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert keys.keys_folder() == tmp_path / "home" / ".config" / "vla-agent" / "keys"


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_is_there_from_the_first_key_on_and_grows(folder):
    assert keys.revoked(folder) == {}
    assert keys.revoke(ID, "lost", folder) == 2 and keys.revoke(DIGEST, "bad", folder) == 3
    assert keys.revoke(ID, "again", folder) == 4
    assert keys.revoked(folder) == {ID: "lost", DIGEST: "bad"}, "what was said first stays"
    keys.create("second", folder)
    assert len(keys.revoked(folder)) == 2
    assert [(folder / f).stat().st_mode & 0o777 for f in ("revoked.json", "revoked.seen.json")] == [0o644, 0o644]


@pytest.mark.parametrize("name", ["", "abc", ID[:-1], ID.upper(), ID + "0", "certificate.json", DIGEST[:-1], ID + "\n"])
def test_nothing_but_whole_identities_stand_in_the_list(folder, name):
    assert refusal(keys.revoke, name, "x", folder).key == "ID"
    assert keys.revoked(folder) == {}


def test_without_a_list_nothing_counts(robot):
    content = (robot / "revoked.json").read_bytes()
    (robot / "revoked.json").unlink()
    error = refusal(keys.revoked, robot)
    assert "there is no revocation list" in error.what and "import-revocations" in error.remedy
    for wrong, says in ((b"", "damaged"), (b"{}", "damaged"), (content[:-2], "damaged"), (content + b" ", "damaged")):
        (robot / "revoked.json").write_bytes(wrong)
        assert says in refusal(keys.revoked, robot).what
    (robot / "revoked.json").write_bytes(content)
    assert keys.revoked(robot) == {}
    (robot / "revoked.seen.json").unlink()
    assert "saw last" in refusal(keys.revoked, robot).what


def test_a_list_that_others_could_have_written_does_not_count(robot):
    for name in ("revoked.json", "revoked.seen.json"):
        (robot / name).chmod(0o666)
        assert refusal(keys.revoked, robot).key == "permissions"
        (robot / name).chmod(0o644)
        (robot / name).rename(robot / "real")
        (robot / name).symlink_to(robot / "real")
        assert refusal(keys.revoked, robot).found == "a link"
        (robot / name).unlink()
        (robot / "real").rename(robot / name)
    robot.chmod(0o777)
    (robot / ".revoked.lock").unlink()
    for use in (
        keys.revoked,
        lambda where: keys.revoke(ID, "x", where),
        lambda where: revocations.import_list(where / "revoked.json", where),
    ):
        assert refusal(use, robot).key == "permissions"
    assert not (robot / ".revoked.lock").exists(), "nothing is opened for writing there"
    robot.chmod(0o700)
    assert keys.revoked(robot) == {}


def test_the_list_of_an_older_release_is_refused_with_the_remedy(folder, robot):
    for place in (folder, robot):
        (place / "revoked.jsonl").write_text("")
        error = refusal(keys.revoked, place)
        assert "older release" in error.what and "init-revocations" in error.remedy
    refusal(keys.revoke, ID, "x", folder)
    refusal(revocations.import_list, folder / "revoked.json", robot)


def sealed(folder: Path, key: str = "lab", sort=revocations.SORT, **changed) -> bytes:
    """A signed list with other parts."""
    data = {"counter": 1, "format": 1, "issued": "2026-01-01T00:00:00+00:00", "revoked": {}} | changed
    return readable(seal(sort, canonical(data), keys.load_private(key, folder))).encode()


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"counter": 0}, "counter"),
        ({"counter": "1"}, "counter"),
        ({"format": 2}, "format"),
        ({"issued": "2026-01-01T00:00:00"}, "issued"),
        ({"revoked": {"abc": {"reason": "x", "time": "2026-01-01T00:00:00+00:00"}}}, "revoked"),
        ({"revoked": {ID: {"reason": "x"}}}, "revoked"),
        ({"revoked": {ID: {"reason": 1, "time": "2026-01-01T00:00:00+00:00"}}}, "revoked"),
        ({"revoked": []}, "revoked"),
        ({"more": 1}, "more"),
    ],
)
def test_a_list_has_one_form(folder, robot, changed, key):
    (robot / "revoked.json").write_bytes(sealed(folder, **changed))
    error = refusal(keys.revoked, robot)
    assert error.key.startswith(key) and "damaged" in error.what


def test_a_signed_certificate_is_no_list(tmp_path):
    case = make(tmp_path / "case")
    (case.keys / "revoked.json").write_bytes(case.certificate.read_bytes())
    assert refusal(keys.revoked, case.keys).key == "payloadType"


def test_only_a_trusted_key_signs_the_list(robot, tmp_path):
    keys.create("stranger", tmp_path / "other")
    (robot / "revoked.json").write_bytes((tmp_path / "other" / "revoked.json").read_bytes())
    assert "not signed by a trusted key" in refusal(keys.revoked, robot).what
    refusal(revocations.import_list, tmp_path / "other" / "revoked.json", robot)


def test_an_older_list_or_one_with_less_in_it_is_refused(folder, robot):
    old = (folder / "revoked.json").read_bytes()
    keys.revoke(ID, "lost", folder)
    new = (folder / "revoked.json").read_bytes()
    revocations.import_list(folder / "revoked.json", robot)
    assert keys.revoked(robot) == {ID: "lost"}
    for wrong, key in (
        (old, "counter"),
        (
            sealed(folder, counter=1, revoked=json.loads((robot / "revoked.seen.json").read_text())["revoked"]),
            "counter",
        ),
        (sealed(folder, counter=2), "revoked"),
        (sealed(folder, counter=9), "revoked"),
    ):
        (robot / "revoked.json").write_bytes(wrong)
        assert refusal(keys.revoked, robot).key == key
        (folder / "sent.json").write_bytes(wrong)
        assert refusal(revocations.import_list, folder / "sent.json", robot).key == key
    (robot / "revoked.json").write_bytes(new)
    assert keys.revoked(robot) == {ID: "lost"}


def test_a_newer_list_that_is_put_there_is_remembered(folder, robot):
    old = (robot / "revoked.json").read_bytes()
    keys.revoke(ID, "lost", folder)
    (robot / "revoked.json").write_bytes((folder / "revoked.json").read_bytes())
    assert keys.revoked(robot) == {ID: "lost"}
    (robot / "revoked.json").write_bytes(old)
    assert refusal(keys.revoked, robot).key == "counter"


def test_an_import_never_goes_behind_the_list_that_lies_there(folder, robot):
    """Also where nobody has read that list yet."""
    keys.revoke(ID, "lost", folder)
    middle = (folder / "revoked.json").read_bytes()
    keys.revoke(OTHER, "lost", folder)
    (robot / "revoked.json").write_bytes((folder / "revoked.json").read_bytes())
    (folder / "sent.json").write_bytes(middle)
    refusal(revocations.import_list, folder / "sent.json", robot)
    assert len(keys.revoked(robot)) == 2


def test_a_damaged_record_of_the_newest_list_is_an_error(robot):
    for wrong in ("", "{}", '{"counter": 1}', "[" * 1000):
        (robot / "revoked.seen.json").write_text(wrong)
        assert refusal(keys.revoked, robot).file == str(robot / "revoked.seen.json")


def test_a_folder_that_cannot_be_written_is_read(folder, robot, monkeypatch):
    keys.revoke(ID, "lost", folder)
    (robot / "revoked.json").write_bytes((folder / "revoked.json").read_bytes())
    before = (robot / "revoked.seen.json").read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert keys.revoked(robot) == {ID: "lost"} and (robot / "revoked.seen.json").read_bytes() == before


def test_a_clock_behind_the_list_is_refused(folder):
    issued = datetime.fromisoformat(json.loads((folder / "revoked.seen.json").read_text())["issued"])
    most = timedelta(minutes=10)
    assert keys.revoked(folder, issued - most) == {}
    error = refusal(keys.revoked, folder, issued - most - timedelta(seconds=1))
    assert "clock is behind" in error.what


def test_one_change_of_the_list_waits_for_another(folder):
    with (folder / ".revoked.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=keys.revoke, args=(ID, "lost", folder))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive() and keys.revoked(folder) == {}
    thread.join(10)
    assert keys.revoked(folder) == {ID: "lost"}


def test_a_list_of_more_than_four_megabytes_is_not_read(folder, robot):
    for size in (4 * 2**20, 4 * 2**20 + 1):
        (robot / "revoked.json").write_bytes(b" " * size)
        (folder / "sent.json").write_bytes(b" " * size)
        expected = "size" if size > 4 * 2**20 else ".json"
        assert refusal(keys.revoked, robot).key.endswith(expected)
        assert refusal(revocations.import_list, folder / "sent.json", robot).key.endswith(expected)


def test_a_revoked_key_signs_no_gate_and_is_not_demanded(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(folder))
    keys.create("second", folder)
    lab = next(print_ for print_, key in keys.trusted(folder).items() if key.name == "lab")
    assert main(["keys", "revoke", lab, "--reason", "stolen", "--key", "second"]) == 0
    out, suite = tmp_path / "out", str(tmp_path / "none.yaml")
    assert main(["gate", "expert", "--key", "lab", "--suite", suite, "-o", str(out)]) == 2
    shown = capsys.readouterr().err
    assert "the key is revoked" in shown and "stolen" in shown and not out.exists()
    assert main(["gate", "expert", "--key", "second", "--suite", suite, "-o", str(out)]) == 2
    shown = capsys.readouterr().err
    assert "none.yaml" in shown and "this attempt" not in shown, "nothing was counted"
    assert not (folder / "ledger.jsonl").exists()
    demands = ["robot", "demands", "panda", "--gate", "gates/tabletop.yaml", "--key"]
    assert main([*demands, "lab"]) == 2 and "the key is revoked" in capsys.readouterr().err
    assert not (folder / "demands").exists()
    assert main([*demands, "second"]) == 0


def test_a_revoked_key_signs_no_list(folder, robot, tmp_path):
    lab = next(iter(keys.trusted(folder)))
    assert "no key here may sign" in refusal(keys.revoke, lab, "stolen", folder).what
    assert "revoked key" in refusal(keys.revoke, lab, "stolen", folder, "lab").what
    assert keys.revoked(folder) == {}
    keys.create("second", folder)
    keys.revoke(lab, "stolen", folder)
    assert keys.revoked(folder) == {lab: "stolen"}
    keys.trust(folder / "second.pub", robot)
    revocations.import_list(folder / "revoked.json", robot)
    entries = json.loads((folder / "revoked.seen.json").read_text())["revoked"]
    (folder / "sent.json").write_bytes(sealed(folder, revoked=entries))
    keys.trust(folder / "lab.pub", tmp_path / "new")
    error = refusal(revocations.import_list, folder / "sent.json", tmp_path / "new")
    assert "revoked key" in error.what, "also where no list was seen before"
    for revoked in ({}, entries):  # the thief signs a newer list
        (robot / "revoked.json").write_bytes(sealed(folder, counter=9, revoked=revoked))
        assert "revoked key" in refusal(keys.revoked, robot).what


def test_the_key_that_signed_before_signs_again_else_it_is_named(folder):
    keys.create("second", folder)
    keys.create("third", folder)
    by_name = {k.name: k.fingerprint for k in keys.trusted(folder).values()}
    signer = lambda: json.loads((folder / "revoked.json").read_text())["signatures"][0]["keyid"]  # noqa: E731
    keys.revoke(ID, "x", folder)
    assert signer() == by_name["lab"]
    error = refusal(keys.revoke, by_name["lab"], "stolen", folder)
    assert "second, third" in error.expected and error.key == "--key"
    keys.revoke(by_name["lab"], "stolen", folder, "third")
    assert signer() == by_name["third"]
    assert refusal(keys.revoke, OTHER, "x", folder, "fourth").found == "fourth"


def test_without_a_folder_there_is_nothing_to_revoke_in(folder, tmp_path):
    assert "there are no keys here" in refusal(keys.revoke, ID, "x", tmp_path / "none").what
    error = refusal(revocations.import_list, folder / "revoked.json", tmp_path / "none")
    assert "not signed by a trusted key" in error.what and not (tmp_path / "none").exists()


def test_a_robot_without_a_private_key_cannot_revoke(robot):
    assert "no key here may sign" in refusal(keys.revoke, ID, "x", robot).what


def test_a_lost_list_is_made_again_with_all_that_was_seen(folder):
    keys.revoke(ID, "lost", folder)
    refusal(take_over, folder)
    (folder / "revoked.json").unlink()
    made = take_over(folder)
    assert made.counter == 3 and keys.revoked(folder) == {ID: "lost"}


def test_the_older_list_is_taken_over_whole_or_not_at_all(folder):
    (folder / "revoked.json").unlink()
    (folder / "revoked.seen.json").unlink()
    older = folder / "revoked.jsonl"
    good = [{"revoked": name, "reason": "lost", "time": "2026-01-01T00:00:00+00:00"} for name in (ID.upper(), DIGEST)]
    for wrong in (
        "{",
        '{"revoked": "abc", "reason": "x", "time": "2026-01-01T00:00:00+00:00"}',
        "[]",
        '{"revoked": 1}',
    ):
        older.write_text("".join(json.dumps(line) + "\n" for line in good) + wrong + "\n")
        assert refusal(take_over, folder).file == f"{older}:3"
        assert not (folder / "revoked.json").exists() and older.exists()
    older.write_text("".join(json.dumps(line) + "\n\n" for line in good))
    take_over(folder)
    assert keys.revoked(folder) == {ID: "lost", DIGEST: "lost"} and not older.exists()


# -- what is meant -----------------------------------------------------------------------------------------------------


def test_what_is_given_is_resolved_when_it_is_written(tmp_path, monkeypatch):
    case = make(tmp_path / "case")
    monkeypatch.chdir(tmp_path)
    lab = next(iter(keys.trusted(case.keys)))
    digest = case.payload["policy"]["digest"]
    ledger = [{"certificate": ID, "policy": DIGEST}, ["x"], {"certificate": 3}, {"event": "start", "policy": digest}]
    (case.keys / "ledger.jsonl").write_text("no JSON\n" + "".join(json.dumps(entry) + "\n" for entry in ledger))
    keys.create("stranger", tmp_path / "other")
    stranger = keys.load_private("stranger", tmp_path / "other").public_key()
    for text, identity, known in (
        (str(case.certificate), case.payload["id"], True),
        (str(case.keys / "lab.pub"), lab, True),
        (str(tmp_path / "other" / "stranger.pub"), keys.fingerprint(stranger), False),
        (str(case.policy), digest, True),
        ("lab", lab, True),
        (lab, lab, True),
        (lab[:8], lab, True),
        (f" {ID.upper()} ", ID, True),
        (ID[:8], ID, True),
        (DIGEST[:30], DIGEST, True),
        (f"sha256:{DIGEST}", DIGEST, True),
        (OTHER, OTHER, False),
        ("a1b2c3d4-0000-1111-2222-333344445555", "a1b2c3d4000011112222333344445555", False),
        ("d4" * 32, "d4" * 32, False),
        ("bbb" + ID[3:], "bbb" + ID[3:], False),
    ):
        found = resolve(text, case.keys)
        assert (found.identity, found.known) == (identity, known), text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "none of them"),
        ("lap", "none of them"),
        ("x" * 5000, "none of them"),
        ("x\0", "none of them"),
        ("certificate 3", "none of them"),
        (ID[:7], "7 digits"),
        ("0" * 8, "nothing that is known"),
        (ID[:-1] + "2", "nearly"),
        (ID[:-2] + "ff", "nearly"),
        ("a1a1a1a1a", f"{ID}, {ID[:16]}{OTHER[:16]}"),
        ("d4" * 20, "nothing that is known"),
        ("policy", "another file"),
    ],
)
def test_what_is_not_clear_is_refused(folder, tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy").mkdir()
    entries = [{"certificate": ID}, {"certificate": ID[:16] + OTHER[:16]}]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    error = refusal(resolve, given, folder)
    assert says in error.found and error.key == "ID"


def test_a_policy_folder_that_was_changed_or_never_tried_is_not_what_is_revoked(tmp_path):
    case = make(tmp_path / "case")
    error = refusal(resolve, str(case.policy), case.keys)
    assert "never tried here" in error.found and "certificate.json" in error.remedy and error.key == "ID"
    assert case.payload["policy"]["digest"] in error.found
    entry = {"event": "start", "policy": case.payload["policy"]["digest"]}
    (case.keys / "ledger.jsonl").write_text(json.dumps(entry) + "\n")
    assert resolve(str(case.policy), case.keys).identity == entry["policy"]
    file = case.policy / "policy.json"
    file.write_text(file.read_text() + "\n")
    assert "was changed since" in refusal(resolve, str(case.policy), case.keys).found


def test_a_certificate_that_no_trusted_key_signed_is_not_what_is_revoked(tmp_path):
    case = make(tmp_path / "case")
    forged = json.loads(case.certificate.read_bytes())
    payload = case.payload | {"id": OTHER}
    keys.create("stranger", tmp_path / "other")
    stranger = sign(payload, keys.load_private("stranger", tmp_path / "other"))
    own = sign(payload, keys.load_private("lab", case.keys))
    for wrong in (stranger, own | {"signatures": forged["signatures"]}):
        write_certificate(tmp_path / "forged.json", wrong)
        error = refusal(resolve, str(tmp_path / "forged.json"), case.keys)
        assert error.key == "ID" and "nothing was" in error.what and "trusted key signed" in error.expected
    write_certificate(tmp_path / "forged.json", own)
    assert resolve(str(tmp_path / "forged.json"), case.keys).identity == OTHER


@settings(derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=70) | st.text("0123456789abcdefABCDEF-:", max_size=70))
def test_whatever_is_given_becomes_a_whole_identity_or_a_refusal(folder, given):
    try:
        found = resolve(given, folder)
    except CertificateError as error:
        assert error.key == "ID"
    else:
        assert re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", found.identity)


def test_a_name_that_is_also_a_path_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    assert "and a path" in refusal(resolve, "lab", folder).found


def test_the_commands_revoke_trust_and_list(tmp_path, monkeypatch, capsys):
    case = make(tmp_path / "case")
    monkeypatch.setenv("VLA_AGENT_KEYS", str(case.keys))
    assert main(["keys", "revoke", "camera", "--reason", "moved"]) == 2
    assert main(["keys", "revoke", str(case.certificate), "--reason", "moved"]) == 0
    shown = capsys.readouterr()
    assert case.payload["id"] in shown.out and "note" not in shown.err
    assert main(["keys", "revoke", OTHER, "--reason", "moved"]) == 0
    assert "nothing that is known here" in capsys.readouterr().err
    robot = tmp_path / "robot"
    monkeypatch.setenv("VLA_AGENT_KEYS", str(robot))
    assert main(["keys", "trust", str(case.keys / "lab.pub")]) == 0
    assert "import-revocations" in capsys.readouterr().err
    assert main(["keys", "list"]) == 2
    assert main(["keys", "import-revocations", str(tmp_path / "none")]) == 2
    assert main(["keys", "import-revocations", str(case.keys / "revoked.json")]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "lab" in shown and "private half" not in shown and f"revoked {case.payload['id']}: moved" in shown
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "empty"))
    assert main(["keys", "list"]) == 0 and "keys create NAME" in capsys.readouterr().out
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "second"))
    both = ["keys", "trust", str(case.keys / "lab.pub"), "--revocations", str(case.keys / "revoked.json")]
    assert main(both) == 0 and main(["keys", "list"]) == 0
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "third"))
    assert main(["keys", "create", "lab"]) == 0
    for name in ("revoked.json", "revoked.seen.json"):
        (tmp_path / "third" / name).unlink()
    assert main(["keys", "list"]) == 2 and main(["keys", "init-revocations"]) == 0 and main(["keys", "list"]) == 0
    assert "private half" in capsys.readouterr().out
    assert main(["keys", "create", "stolen"]) == 0
    assert main(["keys", "revoke", "stolen", "--reason", "stolen", "--key", "lab"]) == 0
    assert main(["keys", "list"]) == 0 and "stolen  (with its private half, revoked)" in capsys.readouterr().out


def test_a_list_is_valid_where_clocks_agree(folder):
    keys.revoked(folder, datetime.now(timezone.utc))
