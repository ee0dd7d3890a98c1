"""A policy behind a server is gated: the certificate binds its files, which lie here, too, and what serves them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("msgpack")
pytest.importorskip("websockets")

from sim.tasks.task import load_suite  # noqa: E402
from vla_agent.cli import main  # noqa: E402
from vla_agent.contract.tabletop import tabletop_contract  # noqa: E402
from vla_agent.errors import CheckpointError, GateError, OptionError, ServingError  # noqa: E402
from vla_agent.files.canonical_json import digest  # noqa: E402
from vla_agent.files.policy_files import hash_served_files, read_lerobot_files  # noqa: E402
from vla_agent.gate.candidate import find_candidate  # noqa: E402
from vla_agent.gate.certificate.certificate import read_certificate, sign, write_certificate  # noqa: E402
from vla_agent.gate.certificate.enforce import Deployment, require_certificate  # noqa: E402
from vla_agent.gate.certificate.verify import replay_sample, verify  # noqa: E402
from vla_agent.policy.loading import load_policy  # noqa: E402
from vla_agent.serving.protocol_messages import SERVED_WITH  # noqa: E402
from vla_agent.serving.server import PolicyServer  # noqa: E402

WITH = digest({"program": "a peer of the tests", "images": {"front": "top"}})


class Peer:
    """A foreign policy: one linear layer on the state and the images' brightness, from its own safetensors."""

    contract, execute = tabletop_contract(), 8

    def __init__(self, folder: Path) -> None:
        files = read_lerobot_files(folder)
        with files.view() as place:
            self.weight = load_file(place / "model.safetensors")["weight"]
        self.files = files.hashes | {SERVED_WITH: WITH}

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.shift = 0.001 * len(instruction) + 1e-4 * (seed % 7)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        seen = [float(image.mean()) / 255 for image in observation["images"].values()]
        inputs = torch.tensor([*observation["state"], *seen], dtype=torch.float32)
        action = torch.tanh(self.weight @ inputs).numpy() * 0.02 + self.shift
        action[-1] = 0.5 + 10 * action[-1]
        return np.tile(action.astype(np.float32), (self.contract.chunk_length, 1))


def write_peer(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    weight = torch.randn(7, 19, generator=torch.Generator().manual_seed(seed))
    save_file({"weight": weight}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"type": "linear"}))
    (folder / "README.md").write_text("read by nobody\n")
    return folder


def serving(folder: Path, **changed: str) -> PolicyServer:
    peer = Peer(folder)
    return PolicyServer(peer, "a peer", port=0, files=peer.files | changed)


@pytest.fixture(scope="module")
def gated(finished, tmp_path_factory):
    """A laboratory with a finished gate of a served policy: the lab, its folder, the server (still up)."""
    root = tmp_path_factory.mktemp("served")
    lab = type(finished)(Path(shutil.copytree(finished.root, root / "lab")))
    tiny, task = lab.root / "tiny.yaml", load_suite()["press_button"].file.read_text()
    tiny.write_text(
        tiny.read_text().replace("[press_button]", "[short.yaml]")
        + "    - {probe: blank, threshold: null}\ndelay_ms: 50\n"
    )
    (lab.root / "short.yaml").write_text(re.sub(r"time_limit: \d+", "time_limit: 12", task))
    folder = write_peer(root / "peer")
    with pytest.MonkeyPatch.context() as patch, serving(folder) as server:
        patch.chdir(lab.root)  # a gate file names task files below it
        lab.gate(server.url, "served", policy_files=folder, clips=0)
        yield lab, folder, server


def test_the_certificate_binds_files_and_what_serves_them(gated):
    lab, folder, server = gated
    certificate = read_certificate(lab.root / "served" / "certificate.json")
    policy = certificate.payload["policy"]
    assert policy["files"] == hash_served_files(folder).hashes | {SERVED_WITH: WITH}
    assert set(policy["files"]) == {"config.json", "model.safetensors", SERVED_WITH}
    assert policy["name"] == "a peer" and policy["digest"] == digest(policy["files"])
    assert certificate.payload["contract"]["sha256"] == Peer.contract.hash
    assert certificate.payload["latency"]["measured_ms"] > 0, "measured through the server"
    report = lab.report("served")
    assert report["policy"] == server.url and "probe.oracle" not in certificate.payload["counts"]


def test_verify_asks_the_server_and_hashes_the_folder(gated, tmp_path, monkeypatch, capsys):
    lab, folder, server = gated
    file = lab.root / "served" / "certificate.json"
    assert verify(file, folder, keys=lab.root / "keys", ledger=lab.ledger, server=server.url) == []
    assert replay_sample(file, server.url, 1, seed=3) == []
    changed = write_peer(tmp_path / "other", seed=1)
    found = verify(file, changed, keys=lab.root / "keys", ledger=lab.ledger, server=server.url)
    assert len(found) == 1 and found[0].what.startswith("model.safetensors")
    with serving(changed) as other:
        found = verify(file, changed, keys=lab.root / "keys", ledger=lab.ledger, server=other.url)
        assert {d.what for d in found} >= {"policy.files.model.safetensors", "policy.digest"}
        assert "digest" in str(replay_sample(file, other.url, 1, seed=3)[0])
    monkeypatch.setenv("VLA_AGENT_KEYS", str(lab.root / "keys"))
    words = ["verify", str(file), "--ledger", str(lab.ledger), "--replay", "0", "--policy", server.url]
    assert main([*words, "--policy-files", str(folder)]) == 0
    assert main(words) == 2 and "--policy-files" in capsys.readouterr().err


def test_a_robot_takes_the_certified_server_and_no_other(gated, tmp_path):
    """The gate did not pass; the enforcement is tried on a statement that says so, by the same key."""
    lab, folder, server = gated
    file, keys = lab.root / "served" / "certificate.json", lab.root / "keys"
    sim = Deployment("arm", hardware=False)
    with pytest.raises(GateError) as error:
        require_certificate(server.url, file, sim, keys=keys)
    assert error.value.key == "verdict"
    payload = json.loads(json.dumps(read_certificate(file).payload))
    payload["verdict"] = "pass"
    for count in payload["counts"].values():
        count["verdict"] = "reported" if count["verdict"] == "reported" else "pass"
    passed = tmp_path / "certificate.json"
    write_certificate(passed, sign(payload, lab.private))
    assert require_certificate(server.url, passed, sim, keys=keys)
    with serving(write_peer(tmp_path / "other", seed=1)) as other, pytest.raises(GateError) as error:
        require_certificate(other.url, passed, sim, keys=keys)
    assert error.value.key == "policy.files.model.safetensors"
    with serving(folder, **{SERVED_WITH: digest("other cameras")}) as other, pytest.raises(GateError) as error:
        require_certificate(other.url, passed, sim, keys=keys)
    assert error.value.key == f"policy.files.{SERVED_WITH}"


def test_what_the_server_does_not_state_as_it_lies_here_is_refused(gated, tmp_path):
    _, folder, server = gated
    other = write_peer(tmp_path / "other", seed=1)
    with pytest.raises(GateError) as error:
        find_candidate(server.url, policy_files=other)
    assert error.value.key == "model.safetensors"
    (other / "extra.json").write_text("{}")
    with serving(folder, **{"read from elsewhere": "a cache"}) as wider, pytest.raises(GateError) as error:
        find_candidate(wider.url, policy_files=folder)
    assert error.value.key == "read from elsewhere"
    with pytest.raises(CheckpointError):
        find_candidate(server.url, policy_files=tmp_path)
    for name, files in ((server.url, None), ("expert", folder)):
        with pytest.raises(OptionError) as missing:
            find_candidate(name, policy_files=files)
        assert missing.value.key == "--policy-files"


def test_a_folder_of_links_is_refused(tmp_path):
    folder = write_peer(tmp_path / "peer")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError):
        hash_served_files(folder)


def test_a_server_that_changed_meanwhile_is_found(gated, tmp_path):
    lab, folder, server = gated
    mine = Path(shutil.copytree(folder, tmp_path / "peer"))
    candidate = find_candidate(server.url, policy_files=mine)
    assert candidate.read_files() == candidate.parts["files"]
    (mine / "config.json").write_text("{}")
    assert candidate.read_files() != candidate.parts["files"]
    with pytest.raises(ServingError) as error:
        load_policy(server.url, expected="0" * 64)
    assert error.value.key == "digest" and load_policy(server.url, expected=candidate.parts["digest"]).execute == 8
