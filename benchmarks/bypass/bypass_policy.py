"""Ways to have other weights, or code, under the certificate of a policy folder; each must be refused.

`cases` yields (kind, name, route) as `benchmarks.certificates.bypass_certificate` does.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

KIND_CODE, KIND_LOADED = 1, 2
POLICY = Path(__file__).parents[2] / "policies" / "tabletop-nano"
Attack = Callable[[Path], Path]  # changes a copy of the policy; returns the name that is then loaded


def cases() -> Iterator[tuple[int, str, Callable[[], str]]]:
    """Every route: kind, name, and what tries it."""
    for kind, attacks in ((KIND_CODE, _CODE), (KIND_LOADED, _OTHER_FILES)):
        for name, attack in attacks.items():
            yield kind, name, _refused(attack, certified=kind == KIND_LOADED)
    yield KIND_LOADED, "weights changed between hashing and loading", _changed_after_hashing
    yield KIND_LOADED, "the folder exchanged for another one while it is read", _exchanged_while_open


def _copy(folder: str) -> Path:
    copy = Path(folder) / "policy"
    shutil.copytree(POLICY, copy, ignore=shutil.ignore_patterns("evaluation", "*.png"))
    return copy


def _refused(attack: Attack, certified: bool) -> Callable[[], str]:
    """Load the policy: under the digest that was ``certified``, as a node does, or as an evaluation does."""

    def tried() -> str:
        from vla_agent.errors import VlaAgentError
        from vla_agent.files.policy_files import hash_policy_files
        from vla_agent.policy.loading import load_policy

        with tempfile.TemporaryDirectory() as folder:
            policy = _copy(folder)
            digest = hash_policy_files(policy).digest if certified else None
            name = attack(policy)
            try:
                load_policy(name, expected=digest)
            except VlaAgentError as error:
                return f"{error.what}: {error.key or error.file}"
        raise AssertionError("it was loaded")

    return tried


def _changed_after_hashing() -> str:
    """Not refused, since nothing is read twice: the weights that act are those that were hashed."""
    from vla_agent.files.policy_files import read_policy_files

    with tempfile.TemporaryDirectory() as folder:
        policy = _copy(folder)
        before = (policy / "head.safetensors").read_bytes()
        files = read_policy_files(policy)
        (policy / "head.safetensors").write_bytes(bytes(len(before)))
        assert files.read("head.safetensors") == before, "other bytes were loaded than hashed"
        with open(files.path("head.safetensors"), "rb") as stream:
            assert stream.read() == before, "other bytes lie behind the path than were hashed"
        try:
            with open(files.path("head.safetensors"), "r+b") as stream:
                stream.write(b"0")
        except OSError as error:
            return f"the memory that was hashed cannot be written: {error.strerror}"
    raise AssertionError("the memory that was hashed was written")


def _exchanged_while_open() -> str:
    """The certificate is asked for what was loaded, whatever lies in the folder since."""
    from vla_agent.errors import VlaAgentError
    from vla_agent.files.policy_files import hash_policy_files, read_policy_files

    with tempfile.TemporaryDirectory() as folder:
        policy = _copy(folder)
        certified = hash_policy_files(policy).digest
        other = _spoiled_weights(_copy(folder + "/other"))
        loaded = read_policy_files(other)
        shutil.rmtree(other)
        shutil.copytree(policy, other)
        try:
            loaded.require(certified)
        except VlaAgentError as error:
            return f"{error.what}: {error.key}"
    raise AssertionError("the files that lie there now were taken for those that were loaded")


def _spoiled_weights(policy: Path) -> Path:
    """Other weights of the head, and a policy.json that vouches for them."""
    from vla_agent.files.hashing import hash_file

    file = policy / "head.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    description = json.loads((policy / "policy.json").read_text())
    description["sha256"]["head.safetensors"] = hash_file(file)
    (policy / "policy.json").write_text(json.dumps(description, indent=2) + "\n")
    return policy


def _edited(file: str, **changed: object) -> Attack:
    def attack(policy: Path) -> Path:
        place = policy / file
        place.write_text(json.dumps(json.loads(place.read_text()) | changed))
        return policy

    return attack


def _added(name: str, content: bytes = b"") -> Attack:
    def attack(policy: Path) -> Path:
        (policy / name).parent.mkdir(exist_ok=True)
        (policy / name).write_bytes(content)
        return policy

    return attack


def _linked(name: str) -> Attack:
    """The same bytes, but reached through a link, whose target can be exchanged later."""

    def attack(policy: Path) -> Path:
        outside = policy.parent / "outside"
        os.rename(policy / name, outside)
        os.symlink(outside, policy / name)
        return policy

    return attack


def _index(policy: Path) -> Path:
    """A shard index that names a file outside the folder."""
    weights = policy / "backbone" / "model.safetensors"
    shutil.copy(weights, policy.parent / "model-00001-of-00001.safetensors")
    weights.unlink()
    index = {"metadata": {}, "weight_map": {"stem": "../../model-00001-of-00001.safetensors"}}
    (policy / "backbone" / "model.safetensors.index.json").write_text(json.dumps(index))
    return policy


def _spoiled_backbone(policy: Path) -> Path:
    file = policy / "backbone" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return policy


def _nested(policy: Path) -> Path:
    """The folder of a training run, with other weights in the policy inside it."""
    run = policy.parent / "run"
    run.mkdir()
    os.rename(_spoiled_weights(policy), run / "policy")
    return run


_OTHER = "modeling_other.OtherModel"
_CODE: dict[str, Attack] = {
    "auto_map in the backbone's config.json": _edited("backbone/config.json", auto_map={"AutoModel": _OTHER}),
    "auto_map in tokenizer_config.json": _edited("backbone/tokenizer_config.json", auto_map={"AutoTokenizer": _OTHER}),
    "auto_map in preprocessor_config.json": _edited(
        "backbone/preprocessor_config.json", auto_map={"AutoProcessor": _OTHER}
    ),
    "an unknown model_type": _edited("backbone/config.json", model_type="other"),
    "a module in backbone/": _added("backbone/modeling_other.py", b"raise SystemExit('executed')\n"),
    "a module beside policy.json": _added("sitecustomize.py", b"raise SystemExit('executed')\n"),
    "pickled weights": _added("backbone/pytorch_model.bin", b"\x80\x04."),
    "a hidden file": _added(".hidden.json", b"{}"),
    "a folder of unknown name": _added("plugins/config.json", b"{}"),
}
_OTHER_FILES: dict[str, Attack] = {
    "other weights, vouched for by policy.json": _spoiled_weights,
    "other weights of the backbone, same size": _spoiled_backbone,
    "backbone/ is a link": _linked("backbone"),
    "the weights are a link": _linked("head.safetensors"),
    "the tokenizer is a link": _linked("backbone/tokenizer.json"),
    "the contract is a link": _linked("policy.json"),
    "a shard index that names a file outside": _index,
    "another number of executed steps": _edited("policy.json", execute=16),
    "a training run's folder around other weights": _nested,
    "an adapter's description beside policy.json": _added("adapter.json", b"{}"),
}
