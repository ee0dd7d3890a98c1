"""An exported policy acts, reads and refuses as the policy does, without torch; changed or odd files are refused."""

import json
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import external_data_helper

from benchmarks.certificates.certificate_case import make
from benchmarks.policy.policy_families import untrained_policy
from benchmarks.shared.random_vlms import save_small_vlm
from benchmarks.shared.tiny_reader import tiny_reader
from vla_agent.cli import main
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import CheckpointError, GateError, ObservationError, OptionError
from vla_agent.export.making import export as making
from vla_agent.export.making.export import ExportSettings, export
from vla_agent.export.making.graphs import Spec, write_onnx
from vla_agent.export.making.linear_resizing import area_resized, letterboxed
from vla_agent.export.making.output_folder import require_own
from vla_agent.export.making.parity import Parity, require_parity
from vla_agent.files.hashing import hash_file
from vla_agent.files.policy_files import hash_policy_files
from vla_agent.gate.certificate.bound_files import policy_contract, policy_files, policy_parts
from vla_agent.models.heads.head_config import HeadConfig
from vla_agent.models.resizing import resized
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.loading import load_policy
from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.sources import contract_of, normalised_range
from vla_agent.serving.session import can_refuse, share_weights, takes_committed

NANO = "policies/tabletop-nano"
OWN = "put the red mug in the tray"
SAID = ["put the red mug in the tray", "open the drawer"]


@pytest.fixture(scope="module")
def policy():
    """The shipped policy with a tiny reader, which is exported in a moment."""
    torch.set_num_threads(1)
    found = load_policy(NANO)
    own = found.reader.settings
    found.reader = tiny_reader().passing(own.templates)
    return found


@pytest.fixture(scope="module")
def folder(policy, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "exported"
    export(policy, out, ExportSettings(observations=11))
    return out


@pytest.fixture(scope="module")
def exported(folder):
    return load_policy(folder)


@pytest.fixture
def observation(policy):
    found, rng = blank_observation(policy.contract), np.random.default_rng(0)
    for name, image in found["images"].items():
        found["images"][name] = rng.integers(0, 256, image.shape, dtype=np.uint8)
    return found


def noise(policy, seed=0):
    shape = policy.contract.chunk_length, policy.contract.action_dim
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))[0].numpy()


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


# -- acting


def test_an_export_acts_as_the_policy_does(policy, exported, observation):
    policy.reset("open the drawer", seed=3)
    exported.reset("open the drawer")
    ours, theirs = policy.act(observation), exported.act(observation, noise=noise(policy, 3))
    assert policy.refusal is None and exported.refusal is None
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    assert exported.execute == policy.execute and exported.contract == policy.contract


def test_a_chunk_that_continues_another_is_the_policys(policy, exported, observation):
    rows = np.random.default_rng(1).normal(0, 0.01, (16, 7)).astype(np.float32)
    committed = Committed(rows, decided=8, delay=3)
    for one in (policy, exported):
        one.reset("open the drawer", seed=4)
    ours = policy.act(observation, committed=committed)
    np.testing.assert_allclose(exported.act(observation, noise(policy, 4), committed), ours, atol=1e-4)


def test_noise_comes_from_the_seed(exported, observation):
    chunks = []
    for seed in (1, 1, 2):
        exported.reset("open the drawer", seed=seed)
        chunks.append(exported.act(observation))
    assert (chunks[0] == chunks[1]).all() and not np.allclose(chunks[0], chunks[2])


@pytest.mark.parametrize("instruction", [OWN, "hit him with the red mug", "do not open the drawer", "put it " * 90])
def test_what_the_policy_holds_still_for_the_export_does_with_the_same_words(policy, exported, instruction):
    observation = blank_observation(policy.contract)  # a grey image shows nothing
    for _ in range(4):
        for one in (policy, exported):
            one.reset(instruction)
            chunk = one.act(observation)
        assert policy.refusal and exported.refusal == policy.refusal
        assert not chunk[:, :6].any() and exported.doubt.reason == policy.doubt.reason


def test_other_words_are_read_as_the_policy_reads_them(policy, exported):
    for text in ("please get that mug over into the tray", "Räume die blaue Tasse weg", "is there a red mug?"):
        policy.reset(text)
        exported.reset(text)
        ours, theirs = policy.reading, exported.reading
        assert (theirs.kind, theirs.text, theirs.slots, theirs.refusal) == (
            ours.kind,
            ours.text,
            ours.slots,
            ours.refusal,
        )
        assert theirs.confidence == pytest.approx(ours.confidence, abs=1e-4)


# -- the runner

RUNNER = """
import sys
for name in ("torch", "transformers", "tokenizers", "openvino", "vla_agent", "pydantic", "scipy"):
    sys.modules[name] = None  # an import of it fails
folder = sys.argv[1]
sys.path[:] = [folder, *(p for p in sys.path if p != "")]
import numpy as np
from run import Policy
from parts.blank_observation import blank_observation
policy = Policy(folder)
observation = blank_observation(policy.contract)
policy.reset("open the drawer")
noise = np.load(sys.argv[2])
np.save(sys.argv[3], policy.act(observation, noise=noise))
policy.reset("hit him in the face")
policy.act(observation)
print(policy.refusal)
for change in ({"state": observation["state"][:3]}, {"images": {}}, {"state": observation["state"] * np.nan}):
    try:
        policy.act({**observation, **change})
    except Exception as error:
        print(type(error).__name__)
"""


def test_the_runner_needs_numpy_and_onnxruntime_alone(policy, folder, tmp_path):
    np.save(tmp_path / "noise.npy", noise(policy))
    files = [str(folder), str(tmp_path / "noise.npy"), str(tmp_path / "chunk.npy")]
    done = subprocess.run([sys.executable, "-c", RUNNER, *files], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["that would hurt someone", *["ObservationError"] * 3], done.stderr
    policy.reset("open the drawer", seed=0)
    np.testing.assert_allclose(
        np.load(tmp_path / "chunk.npy"), policy.act(blank_observation(policy.contract)), atol=1e-4
    )


def said_by_run(folder, *words):
    return subprocess.run([sys.executable, "-B", folder / "run.py", *words], capture_output=True, text=True)


def test_the_runner_as_a_program_takes_words_as_they_come_and_tells_errors_in_a_line(copy):
    assert "that would hurt someone" in said_by_run(copy, "hit", "him", "in", "the", "face").stdout
    without = said_by_run(copy)
    assert without.returncode == 0 and not without.stderr, "no words are an instruction that is not understood"
    (copy / "policy.onnx").write_bytes(b"no graph")
    damaged = said_by_run(copy, "open the drawer")
    assert damaged.returncode == 1 and "Traceback" not in damaged.stderr
    assert damaged.stderr.splitlines()[-1].endswith("is not the file that was exported: get the folder again")


@pytest.mark.parametrize(("instruction", "seed"), [(None, 0), ("open the drawer", -1)])
def test_after_an_instruction_that_failed_the_one_before_is_not_carried_out(exported, observation, instruction, seed):
    exported.reset("open the drawer")
    exported.act(observation)
    with pytest.raises((TypeError, ValueError)):
        exported.reset(instruction, seed=seed)
    with pytest.raises(ValueError, match="call reset"):
        exported.act(observation)


def test_the_runner_has_at_most_60_lines(folder):
    assert len((folder / "run.py").read_text().splitlines()) <= 60


def test_no_part_of_the_runner_imports_the_package(folder):
    for module in (folder / "run.py", *(folder / "parts").glob("*.py")):
        assert "from vla_agent" not in module.read_text() and "import torch" not in module.read_text()


# -- the folder


def test_the_folder_is_a_policy_with_an_identity_and_a_contract(policy, folder):
    parts = policy_parts(folder)
    assert parts["normaliser"] == "in files" and set(parts["files"]) > {"export.json", "policy.onnx", "run.py"}
    assert parts["digest"] == load_policy(folder).digest == hash_policy_files(folder).digest
    assert policy_contract(folder) == contract_of(str(folder)) == policy.contract
    for layout in ("state", "action"):
        ours, theirs = normalised_range(NANO, layout), normalised_range(str(folder), layout)
        assert all(np.allclose(ours[end], theirs[end]) for end in ("low", "high"))
    about = json.loads((folder / "export.json").read_text())
    assert about["policy"]["digest"] == policy.digest and about["parity"]["onnx"]["largest"] < 1e-3
    assert about["parity"]["onnx"]["observations"] == 11 and not about["parity"]["onnx"]["disagreed"]


@pytest.mark.parametrize("name", ["policy.onnx", "tokenizer.json", "parts/unsafe.py", "run.py", "text.onnx"])
def test_a_changed_byte_of_an_export_is_another_policy(copy, name):
    before, file = policy_parts(copy), copy / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    after = policy_parts(copy)
    assert before["digest"] != after["digest"] and before["files"][name] != after["files"][name]
    with pytest.raises(CheckpointError):
        load_policy(copy, expected=before["digest"])


def test_a_damaged_graph_is_refused_before_it_is_opened(copy):
    (copy / "policy.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        load_policy(copy)


def test_a_certificate_of_an_export_covers_exactly_its_files(folder, tmp_path):
    case, source = make(tmp_path / "case", folder), make(tmp_path / "source", Path(NANO))
    assert case.require(files=None).id == case.payload["id"]
    assert case.require(files=load_policy(case.policy).files), "what was loaded is what was certified"
    with pytest.raises(GateError, match="policy"):
        case.require(files=policy_files(Path(NANO)))
    with pytest.raises(GateError, match="policy"):  # nor does the source's certificate cover the export
        source.require(files=policy_files(folder))
    data = bytearray((case.policy / "plane.onnx").read_bytes())
    data[-1] ^= 1
    (case.policy / "plane.onnx").write_bytes(data)
    with pytest.raises(GateError) as error:
        case.require(files=None)
    assert error.value.key == "policy.files.plane.onnx"


def test_each_client_of_a_server_has_an_export_of_its_own(exported, observation):
    exported.reset("open the drawer", seed=1)
    chunk = exported.act(observation)
    other = share_weights(exported)
    other.reset(OWN, seed=1)
    exported.reset("open the drawer", seed=1)
    assert (exported.act(observation) == chunk).all() and can_refuse(exported) and takes_committed(exported)
    assert other.words is not exported.words and other.digest == exported.digest


def seal(folder, name):
    """The manifest names the file as it is now."""
    about = json.loads((folder / "export.json").read_text())
    about["sha256"][name] = hash_file(folder / name)
    (folder / "export.json").write_text(json.dumps(about))


def test_weights_that_lie_beside_a_graph_are_refused(copy, tmp_path, monkeypatch):
    graph = onnx.load(copy / "plane.onnx")
    weights = max(graph.graph.initializer, key=lambda x: len(x.raw_data))
    (tmp_path / "elsewhere.bin").write_bytes(weights.raw_data)
    external_data_helper.set_external_data(weights, "elsewhere.bin")
    weights.ClearField("raw_data")
    (copy / "plane.onnx").write_bytes(graph.SerializeToString())
    seal(copy, "plane.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be opened"):
        load_policy(copy)


def test_a_tokenizer_that_splits_in_another_way_is_refused(copy):
    described = json.loads((copy / "tokenizer.json").read_text())
    described["pre_tokenizer"]["pattern"]["Regex"] = "(a+)+$"
    (copy / "tokenizer.json").write_text(json.dumps(described))
    seal(copy, "tokenizer.json")
    with pytest.raises(CheckpointError, match="another way"):
        load_policy(copy)


@pytest.mark.parametrize("name", ["more.onnx", "parts/Evil.py", "parts/data.bin", "policy.json", "parts/more/x.py"])
def test_a_file_that_does_not_belong_in_an_export_is_refused(copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("{}")
    with pytest.raises(CheckpointError, match="does not belong"):
        load_policy(copy)


def test_what_python_leaves_beside_the_runner_changes_nothing(copy):
    before = policy_parts(copy)
    for place in (copy / "__pycache__", copy / "parts" / "__pycache__"):
        place.mkdir(exist_ok=True)
        (place / "run.cpython-311.pyc").write_bytes(b"")
    assert policy_parts(copy) == before and load_policy(copy).digest == before["digest"]


def test_a_module_in_an_export_never_runs_in_the_project(copy, tmp_path):
    for name in ("run.py", "parts/words.py", "parts/sitecustomize.py"):
        (copy / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    load_policy(copy).reset("open the drawer")
    assert not (tmp_path / "ran").exists()


def test_an_acceleration_that_an_export_has_not_is_refused(exported):
    with pytest.raises(OptionError, match="as it was exported"):
        exported.accelerated(compiled=False, quantise="int8", openvino=False)


def test_the_sections_of_an_export_cannot_be_profiled(folder, capsys):
    assert main(["profile", str(folder)]) == 2
    assert "ExportedPolicy" in capsys.readouterr().err


# -- a pretrained vision-language model


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A policy of a pretrained model, and its export."""
    place = tmp_path_factory.mktemp("pretrained")
    policy = untrained_policy(save_small_vlm("paligemma", place / "model")).eval().requires_grad_(False)
    torch.manual_seed(0)
    for weights in policy.head.parameters():  # an untrained head gives its noise back, whatever it is given
        torch.nn.init.normal_(weights, std=0.1)
    settings = ExportSettings(observations=2, instructions=tuple(SAID))
    return policy, export(policy, place / "out", settings), place / "out"


def test_a_policy_of_a_pretrained_model_is_exported_with_its_instructions(pretrained):
    policy, about, folder = pretrained
    assert about["parity"]["onnx"]["largest"] < 1e-3
    exported, observation = load_policy(folder), blank_observation(policy.contract)
    for text in SAID:  # of other lengths
        policy.reset(text, seed=5)
        exported.reset(text)
        np.testing.assert_allclose(exported.act(observation, noise(policy, 5)), policy.act(observation), atol=1e-3)
    exported.reset("Open the drawer")
    assert not exported.act(observation)[:, :6].any() and "no such words" in exported.refusal


# -- refusals at export


def test_where_the_graph_acts_otherwise_nothing_is_written(pretrained, tmp_path, monkeypatch):
    def write_another(spec, file):
        if file.name == "policy.onnx":
            other = deepcopy(spec.module)
            other.action_normaliser.shift += torch.tensor([0, 0, 0, 0.01, 0, 0, 0])
            spec = replace(spec, module=other)
        write(spec, file)

    write = making.WRITERS["onnx"]
    monkeypatch.setitem(making.WRITERS, "onnx", write_another)
    with pytest.raises(OptionError, match="does not act as the policy") as error:
        export(pretrained[0], tmp_path / "out", ExportSettings(observations=2, instructions=tuple(SAID)))
    assert "ee_rotation" in str(error.value) and "observation" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_head_without_a_graph_is_refused(policy):
    other = VLAPolicy(policy.contract, policy.backbone, HeadConfig(kind="regression", width=32, depth=1, heads=2))
    with pytest.raises(OptionError, match="cannot be exported") as error:
        export(other, Path("never"), ExportSettings())
    assert "flow matching" in str(error.value) and not Path("never").exists()


def test_the_ir_of_a_pretrained_model_is_refused(pretrained):
    with pytest.raises(OptionError, match="cannot be exported"):
        export(pretrained[0], Path("never"), ExportSettings(("openvino",), instructions=tuple(SAID)))


def test_instructions_are_for_pretrained_models_alone(policy):
    with pytest.raises(OptionError, match="cannot be exported"):
        export(policy, Path("never"), ExportSettings(instructions=("open the drawer",)))


def test_nothing_but_an_earlier_export_is_replaced(policy, folder, tmp_path):
    """What stands in the output's place is deleted: it must not be anyone's work, nor the policy itself."""
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    shutil.copy(folder / "export.json", tmp_path / "copy")
    (tmp_path / "copy" / "notes.txt").write_text("mine")
    for wrong in (tmp_path / "runs", tmp_path / "copy", Path(NANO), Path(NANO) / "exported", Path("README.md")):
        with pytest.raises(OptionError, match="cannot be written there") as error:
            export(policy, wrong, ExportSettings(observations=1))
        assert error.value.key == "-o"
    assert (tmp_path / "runs" / "mine").is_dir() and (tmp_path / "copy" / "notes.txt").read_text() == "mine"
    require_own(folder)
    require_own(tmp_path / "new")


def test_the_command_refuses_the_folder_and_the_list_before_it_loads_anything(tmp_path, capsys):
    (tmp_path / "work").write_text("mine")
    (tmp_path / "latin.txt").write_bytes("öffne die Schublade".encode("latin1"))
    new, listed = str(tmp_path / "new"), str(tmp_path / "latin.txt")
    for words in (["no/such", "-o", str(tmp_path)], ["no/such", "-o", new, "--instructions", listed]):
        assert main(["export", *words]) == 2
        said = capsys.readouterr().err
        assert "-o" in said if words[2] == str(tmp_path) else listed in said and "UTF-8" in said


# -- resizing


@pytest.mark.parametrize("size", [(48, 48), (36, 40), (96, 96), (100, 130)])
def test_areas_are_resized_as_the_policy_does(size):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    ours = area_resized(image.permute(2, 0, 1).float(), size)
    theirs = resized(image[None], size)[0].permute(2, 0, 1).float()
    assert (
        float((ours - theirs).abs().max()) <= 1.0 and float((ours != theirs).float().mean()) < 0.01
    )  # ties of rounding


@pytest.mark.parametrize("size", [(64, 64), (32, 48)])
def test_letterboxes_are_those_of_the_backbone(size):
    images = torch.rand(2, 3, 48, 80)
    inner = [round(n * min(size[0] / 48, size[1] / 80)) for n in (48, 80)]
    small = torch.nn.functional.interpolate(images, inner, mode="bilinear", antialias=True, align_corners=False)
    found, (top, left) = letterboxed(images, size), [(n - m) // 2 for n, m in zip(size, inner, strict=True)]
    torch.testing.assert_close(found[:, :, top : top + inner[0], left : left + inner[1]], small.clamp(0, 1))
    assert found.shape[2:] == size and float(found.sum()) == pytest.approx(float(small.clamp(0, 1).sum()), rel=1e-4)


def test_an_observation_of_another_contract_is_refused(exported, observation):
    exported.reset("open the drawer")
    observation["images"]["front"] = observation["images"]["front"][:50]
    with pytest.raises(ObservationError):
        exported.act(observation)


def test_int8_is_judged_by_the_mean_difference_and_float32_by_the_largest():
    late = Parity(observations=100, largest=0.6, mean=0.05, field="gripper")  # a gripper that closes a look later
    require_parity(late, "int8", 0.1, mean=True)
    with pytest.raises(OptionError, match="gripper"):
        require_parity(late, "onnx")
    with pytest.raises(OptionError, match="on average"):
        require_parity(replace(late, mean=0.2), "int8", 0.1, mean=True)
    with pytest.raises(OptionError, match="refusal"):
        require_parity(replace(late, disagreed=1), "int8", 0.1, mean=True)


class _Eigen(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).real


def test_a_model_that_torch_cannot_write_is_refused_in_words(tmp_path):
    with pytest.raises(OptionError, match="cannot write this policy's model"):
        write_onnx(Spec(_Eigen(), {"x": torch.eye(3)}, ("y",), {}), tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()
