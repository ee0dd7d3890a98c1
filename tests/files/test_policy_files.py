"""A policy's files: a closed list, each read once; links, other files and special files are refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import unicodedata
from pathlib import Path

import pytest

from vla_agent.errors import CheckpointError
from vla_agent.files import policy_files
from vla_agent.files.canonical_json import digest
from vla_agent.files.policy import sealed_memory
from vla_agent.files.policy.closed_list import ADAPTER_FORMAT
from vla_agent.files.policy_files import (
    hash_policy_files,
    read_policy_file,
    read_policy_files,
    read_pretrained_files,
)
from vla_agent.files.policy_folder import find_folder, is_hub_id

SHARD = "model-00001-of-00002.safetensors"
OTHER_SHARD = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
CONTENT = {
    "policy.json": b'{"contract": {}}',
    "head.safetensors": b"head",
    "backbone/config.json": b"{}",
    "backbone/model.safetensors": b"weights",
    "backbone/tokenizer.json": b"{}",
}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "policy", CONTENT)


def write(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refused(folder: Path, *words: str) -> None:
    """Every way to read the folder refuses it, and names the file and a remedy."""
    for read in (read_policy_files, hash_policy_files, lambda f: read_policy_file(f, "policy.json")):
        with pytest.raises(CheckpointError) as caught:
            read(folder)
        assert caught.value.remedy and caught.value.file
        for word in words:
            assert word in str(caught.value), str(caught.value)


# ---- what is read


def test_the_hashes_are_those_of_all_files_of_the_list_and_the_digest_is_over_them(folder):
    hashes = {name: sha(data) for name, data in CONTENT.items()}
    for files in (read_policy_files(folder), hash_policy_files(folder)):
        assert files.hashes == hashes and files.digest == digest(hashes) and files.kind == "policy"


@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE", "training.json", "recipe.yaml", "recipe-3.yaml", "curve.png", "curve-12.png"]
    + ["head.jsonl", "tune.jsonl", "certificate.json", "evaluation/anything.py", "evaluation/deep/.hidden"]
)  # fmt: skip
def test_a_record_is_left_alone_and_changes_no_digest(folder, name):
    before = read_policy_files(folder).digest
    write(folder, {name: b"anything"})
    assert read_policy_files(folder).digest == before


@pytest.mark.parametrize("name", CONTENT)
def test_one_changed_byte_of_a_loaded_file_is_another_digest(folder, name):
    before = read_policy_files(folder)
    write(folder, {name: CONTENT[name] + b" "})
    after = read_policy_files(folder)
    assert after.digest != before.digest and after.hashes[name] != before.hashes[name]


def test_what_was_hashed_stays_what_is_loaded_whatever_happens_to_the_folder(folder):
    files = read_policy_files(folder)
    for name in CONTENT:
        with (folder / name).open("r+b") as file:  # the same inode
            file.write(b"evil")
    shutil.rmtree(folder)
    for name, data in CONTENT.items():
        assert files.read(name) == data and Path(files.path(name)).read_bytes() == data
        assert sha(Path(files.path(name)).read_bytes()) == files.hashes[name]


def test_the_memory_cannot_be_written(folder):
    files = read_policy_files(folder)
    with pytest.raises(PermissionError), open(files.path("head.safetensors"), "r+b") as file:
        os.write(file.fileno(), b"evil")


def test_a_view_shows_the_memory_under_the_files_names_and_goes_away(folder):
    files = read_policy_files(folder)
    with files.view("backbone") as view:
        assert sorted(f.name for f in view.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
        assert (view / "model.safetensors").read_bytes() == b"weights"
        assert view.stat().st_mode & 0o077 == 0, "for this user alone"
    assert not view.exists()


def test_where_there_is_no_sealed_memory_a_private_copy_is_held(folder, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    files = read_policy_files(folder)
    (folder / "head.safetensors").write_bytes(b"evil")
    path = Path(files.path("head.safetensors"))
    assert path.read_bytes() == b"head" and path.stat().st_mode & 0o077 == 0


def test_without_keeping_only_the_backbones_weights_are_left_out(folder):
    files = hash_policy_files(folder)
    assert files.read("head.safetensors") == b"head"
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        files.read("backbone/model.safetensors")


def test_one_file_alone_is_read(folder):
    files = read_policy_file(folder, "policy.json")
    assert files.own == {"policy.json": sha(CONTENT["policy.json"])} and files.json("policy.json") == {"contract": {}}
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        files.read("head.safetensors")


def test_an_expected_digest_is_required(folder):
    files = read_policy_files(folder)
    files.require(None)
    files.require(files.digest)
    with pytest.raises(CheckpointError, match="not the expected ones"):
        files.require("0" * 64)


@pytest.mark.parametrize("changed", [b"shorter", b"longer than before it was read"])
def test_a_file_that_changes_while_it_is_read_is_refused(folder, monkeypatch, changed):
    head = folder / "head.safetensors"
    fstat = os.fstat

    def and_then_changed(descriptor):
        found = fstat(descriptor)
        if found.st_size == len(b"as long as this") and asked.append(1) is None and len(asked) == 2:
            head.write_bytes(changed)
        return found

    for read in (read_policy_files, lambda f: sealed_memory.hash_open_file(os.open(f / "head.safetensors", 0), "head")):
        head.write_bytes(b"as long as this")
        asked = [] if read is read_policy_files else [1]  # the first time is a look at its kind
        monkeypatch.setattr(os, "fstat", and_then_changed)
        with pytest.raises(CheckpointError, match="changed while it was read"):
            read(folder)
        monkeypatch.setattr(os, "fstat", fstat)


# ---- what is refused


@pytest.mark.parametrize(
    "name",
    [
        *("modeling.py", "backbone/modeling.py", "__init__.py", "policy.pyc", "run.sh", "kernel.so"),
        *("head.pt", "policy.pkl", "head.bin", "backbone/pytorch_model.bin", "backbone/model.gguf", "a.npy"),
        *("notes.txt", "README.txt", "curve.svg", "recipe-x.yaml", "curve-.png", "backbone/README.md"),
        *(".hidden", ".policy.json", "policy.json~", "Policy.json", "POLICY.JSON", "readme.md", "policy.json."),
        *("policy.json ", " policy.json", "policy.json\n", "policy\u200b.json", "p\u043elicy.json", "backbone\\a.json"),
        *("recipe-\u0661.yaml", unicodedata.normalize("NFD", "r\u00e9cipe.yaml"), "backbone/adapter_config.json"),
        *("backbone/model-1-of-2.safetensors", "model.safetensors", "backbone/head.safetensors", "vlm.json"),
        *("backbone/fused/vlm.json", "adapter.safetensors"),
    ],
)
def test_a_file_that_is_not_on_the_list_is_refused(folder, name):
    write(folder, {name: b"{}"})
    refused(folder, "does not belong", ascii(Path(name).name)[1:-1])


def test_a_name_that_is_no_text_is_refused_and_shown_in_ascii(folder):
    with open(os.fsencode(folder) + b"/\xff.json", "w"):
        pass
    refused(folder, "udcff")


@pytest.mark.parametrize("name", ["weights", "backbone/backbone", "backbone/fused/deep", "Backbone", ".git", "..."])
def test_a_folder_that_is_not_on_the_list_is_refused(folder, name):
    (folder / name).mkdir(parents=True)
    refused(folder, "a folder that does not belong")


@pytest.mark.parametrize("name", [*CONTENT, "backbone", "README.md", "evaluation", "backbone/vocab.json"])
def test_a_link_is_refused_also_to_the_same_bytes(folder, name, tmp_path):
    file, elsewhere = folder / name, tmp_path / "elsewhere"
    if file.exists():
        file.rename(elsewhere)
    else:
        elsewhere.write_bytes(b"{}")
    file.symlink_to(elsewhere)
    refused(folder, "a link")


@pytest.mark.parametrize("target", ["nothing", "vocab.json", "config.json", "/dev/zero", "../../elsewhere", ".."])
def test_any_link_is_refused_without_being_followed(folder, target):
    (folder / "backbone/vocab.json").symlink_to(target)
    refused(folder, "vocab.json", "a link")


@pytest.mark.parametrize("name", ["policy.json", "head.safetensors", "backbone/vocab.json", "README.md"])
def test_a_fifo_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, "a FIFO")


def test_a_socket_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("head.jsonl")
    refused(folder, "a socket")


def test_a_folder_in_place_of_a_file_is_refused(folder):
    (folder / "head.safetensors").unlink()
    (folder / "head.safetensors").mkdir()
    refused(folder, "a folder")


def test_a_folder_of_reports_that_is_a_file_is_refused(folder):
    (folder / "evaluation").write_bytes(b"")
    refused(folder, "evaluation")


def test_a_text_is_refused_beyond_its_limit_and_weights_are_not(folder, monkeypatch):
    monkeypatch.setattr(policy_files, "MOST_TEXT", 100)
    write(folder, {"backbone/tokenizer.json": b" " * 100, "backbone/model.safetensors": b" " * 200})
    read_policy_files(folder)
    write(folder, {"backbone/tokenizer.json": b" " * 101})
    with pytest.raises(CheckpointError, match=r"(?s)too large.*tokenizer\.json"):
        read_policy_files(folder)


def test_a_policys_and_an_adapters_description_in_one_folder_are_refused(folder):
    write(folder, {"adapter.json": b"{}"})
    refused(folder, "adapter.json")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_policy_files(tmp_path / "nothing")


# ---- shards


def sharded(folder: Path, index: object) -> Path:
    (folder / "backbone/model.safetensors").unlink()
    weights = {f"backbone/{name}": b"part" for name in (SHARD, OTHER_SHARD)}
    return write(folder, weights | {f"backbone/{INDEX}": json.dumps(index).encode()})


def test_shards_are_read_with_their_index(folder):
    files = read_policy_files(sharded(folder, {"weight_map": {"a": SHARD, "b": OTHER_SHARD}}))
    assert f"backbone/{SHARD}" in files.hashes and f"backbone/{INDEX}" in files.hashes


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": SHARD}, "other shards"),
        ({"a": SHARD, "b": OTHER_SHARD, "c": "model-00003-of-00003.safetensors"}, "other shards"),
        ({"a": SHARD, "b": "../../outside.safetensors"}, "no shard beside it"),
        ({"a": SHARD, "b": "/outside.safetensors"}, "no shard beside it"),
        ({"a": SHARD, "b": f"deep/{SHARD}"}, "no shard beside it"),
        ({"a": SHARD, "b": f"{SHARD}\n"}, "no shard beside it"),
        ({"a": SHARD, "b": "../head.safetensors"}, "no shard beside it"),
        ({"a": SHARD, "b": "pytorch_model.bin"}, "no shard beside it"),
        ({"a": SHARD, "b": 7}, "cannot be read"),
        ({}, "cannot be read"),
        ([SHARD], "cannot be read"),
    ],
)
def test_an_index_names_exactly_the_shards_beside_it(folder, weight_map, words):
    sharded(folder, {"weight_map": weight_map})
    for read in (read_policy_files, hash_policy_files):
        with pytest.raises(CheckpointError, match=words):
            read(folder)


@pytest.mark.parametrize("data", [b"[", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"weight_map": null}'])
def test_an_index_that_cannot_be_read_is_refused(folder, data):
    write(sharded(folder, {}), {f"backbone/{INDEX}": data})
    with pytest.raises(CheckpointError, match="index of shards cannot be read"):
        read_policy_files(folder)


def test_shards_without_an_index_and_weights_twice_are_refused(folder):
    write(folder, {f"backbone/{SHARD}": b"part"})
    with pytest.raises(CheckpointError, match="without their index"):
        read_policy_files(folder)
    write(folder, {f"backbone/{INDEX}": json.dumps({"weight_map": {"a": SHARD}}).encode()})
    with pytest.raises(CheckpointError, match="in one file and an index"):
        read_policy_files(folder)


# ---- JSON


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe{\0}\0", "not JSON"),
        (b'{"a": 1, "a": 2}', "occurs twice"),
        (b"[" * 40 + b"]" * 40, "levels"),
        (b"[" * 200_000, "levels"),
    ],
)
def test_json_that_two_readers_may_understand_differently_is_refused(folder, data, words):
    write(folder, {"policy.json": data})
    with pytest.raises(CheckpointError, match=words):
        read_policy_files(folder).json("policy.json")


# ---- adapters


def adapter(folder: Path, **base: object) -> Path:
    described = {"name": "nowhere", "beside": "../policy", "sha256": read_policy_files(folder).digest} | base
    content = {"format": ADAPTER_FORMAT, "base": described}
    return write(folder.parent / "adapter", {"adapter.json": json.dumps(content).encode(), "adapter.safetensors": b"a"})


def test_an_adapters_files_are_its_own_and_its_bases(folder):
    files = read_policy_files(adapter(folder))
    assert set(files.hashes) == {"adapter.json", "adapter.safetensors", *(f"base/{name}" for name in CONTENT)}
    assert files.policy.read("head.safetensors") == b"head" and files.kind == "adapter"
    assert hash_policy_files(folder.parent / "adapter").digest == files.digest
    assert read_policy_file(folder.parent / "adapter", "policy.json").json("policy.json") == {"contract": {}}


@pytest.mark.parametrize("name", [name for name in CONTENT if name != "policy.json"])
def test_any_changed_file_of_the_base_is_another_base(folder, name):
    place = adapter(folder)
    write(folder, {name: CONTENT[name] + b" "})
    with pytest.raises(CheckpointError, match="missing or is a different policy"):
        read_policy_files(place)


def test_a_given_base_counts_alone_and_must_be_the_named_one(folder, tmp_path):
    place = adapter(folder, beside="nowhere")
    with pytest.raises(CheckpointError, match="different policy"):
        read_policy_files(place)
    assert read_policy_files(place, folder).base is not None
    other = write(tmp_path / "other", CONTENT | {"head.safetensors": b"other"})
    adapter(folder)
    with pytest.raises(CheckpointError, match="different policy"):
        read_policy_files(place, other)


@pytest.mark.parametrize("changes", [{"name": "hf://nobody/nothing"}, {"name": "ws://127.0.0.1:9"}, {"name": "a\0b"}])
def test_a_base_that_is_no_folder_here_is_refused_without_a_connection(folder, changes):
    with pytest.raises(CheckpointError, match="different policy"):
        read_policy_files(adapter(folder, beside="nowhere", **changes))


@pytest.mark.parametrize("name", ["adapter.py", "adapter_model.bin", "policy.pkl", "backbone"])
def test_an_adapters_folder_has_a_closed_list_too(folder, name):
    write(adapter(folder), {name: b""})
    with pytest.raises(CheckpointError, match="does not belong"):
        read_policy_files(folder.parent / "adapter")


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"format": 1, "base": {}}', b'{"format": 2, "base": {"name": 1}}'])
def test_a_description_without_a_base_is_refused(folder, data):
    write(adapter(folder), {"adapter.json": data})
    with pytest.raises(CheckpointError, match="description cannot be read"):
        read_policy_files(folder.parent / "adapter")


# ---- the hub


BLOB = "ab" * 32


@pytest.fixture
def snapshot(tmp_path):
    """A folder as the hub's cache has it: links to blobs."""
    model = tmp_path / "models--owner--name"
    (model / "blobs").mkdir(parents=True)
    place = model / "snapshots" / ("0" * 40)
    for number, (name, data) in enumerate((CONTENT | {"README.md": b"text"}).items()):
        blob = f"{number:064x}"
        (model / "blobs" / blob).write_bytes(data)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to("../" * (2 + name.count("/")) + f"blobs/{blob}")
    return place


def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(snapshot):
    assert read_policy_files(snapshot).hashes == {name: sha(data) for name, data in CONTENT.items()}


@pytest.mark.parametrize(
    "target",
    [f"../../blobs/{BLOB}/..", f"../blobs/{BLOB}", f"../../../blobs/{BLOB}", "../../blobs/head", "/etc/passwd"],
)
def test_a_snapshots_link_to_another_place_is_refused(snapshot, target):
    (snapshot / "head.safetensors").unlink()
    (snapshot / "head.safetensors").symlink_to(target)
    for read in (read_policy_files, hash_policy_files):
        with pytest.raises(CheckpointError, match="a link"):
            read(snapshot)


def test_a_blob_that_is_a_link_or_a_fifo_is_refused(snapshot, tmp_path):
    (tmp_path / "head").write_bytes(b"head")
    (snapshot / "head.safetensors").unlink()
    (snapshot / "head.safetensors").symlink_to(f"../../blobs/{BLOB}")
    blob = snapshot.parents[1] / "blobs" / BLOB
    blob.symlink_to(tmp_path / "head")
    with pytest.raises(CheckpointError, match="a link"):
        read_policy_files(snapshot)
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(CheckpointError, match="a FIFO"):
        read_policy_files(snapshot)


def test_links_as_in_a_snapshot_are_refused_elsewhere(snapshot, tmp_path):
    elsewhere = tmp_path / "models--owner--name" / "other" / "here"
    elsewhere.parent.mkdir()
    snapshot.rename(elsewhere)
    refused(elsewhere, "a link")


@pytest.mark.parametrize(
    "name",
    [
        *("owner/name", "owner/name/", "owner//name", "owner\\name", "./owner/name", "Owner/Name", "POLICIES/x"),
        *("policies/nowhere", "runs/mine", "~/x", " owner/name", "hf:owner/name", "https://hf.co/owner/name"),
    ],
)
def test_no_name_without_the_hubs_prefix_is_looked_up_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("a connection"))
    assert not is_hub_id(name)
    with pytest.raises(CheckpointError, match="no such policy folder"):
        find_folder(name)


def test_a_name_that_looks_like_the_hubs_is_told_how_to_write_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="hf://owner/name"):
        find_folder("owner/name")


@pytest.mark.parametrize("name", ["hf://", "hf://owner", "hf://owner/name/x", "hf://../name", "hf://owner/na me"])
def test_a_prefix_without_owner_and_name_is_refused(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("a connection"))
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        find_folder(name)


def test_of_the_hub_only_files_that_a_loader_reads_are_asked_for(monkeypatch, tmp_path):
    asked = {}

    def download(name, allow_patterns, local_files_only):
        asked.update(name=name, patterns=allow_patterns, offline=local_files_only)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_folder("hf://owner/name") == tmp_path
    assert asked["name"] == "owner/name" and asked["offline"] is False
    assert "policy.json" in asked["patterns"] and not any("*" in pattern for pattern in asked["patterns"])


def test_a_link_to_a_policy_inside_a_training_run_is_not_followed(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "policy").symlink_to(folder)
    with pytest.raises(CheckpointError, match="a link"):
        read_policy_files(find_folder(tmp_path / "run"))


def test_of_a_pretrained_model_only_the_files_of_the_list_are_read(tmp_path):
    model = write(tmp_path / "model", {"config.json": b"{}", "modeling.py": b"", "onnx/model.onnx": b"", "a.bin": b""})
    files = read_pretrained_files(model)
    assert set(files.own) == {"config.json"}
    with files.view() as view:
        assert [f.name for f in view.iterdir()] == ["config.json"]
    (model / "vocab.json").symlink_to("config.json")
    with pytest.raises(CheckpointError, match="a link"):
        read_pretrained_files(model)
