"""The policy server and its clients: the wire, the queue, the token, clients that misbehave, evaluation through it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

msgpack = pytest.importorskip("msgpack")
pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from benchmarks.serving.serve_faults import MALFORMED  # noqa: E402
from benchmarks.shared.plausible_state import plausible_state  # noqa: E402
from sim.env import tabletop_contract  # noqa: E402
from sim.tasks.task import load_suite  # noqa: E402
from vla_agent.cli import main  # noqa: E402
from vla_agent.errors import ContractError, ObservationError, OptionError, ServingError  # noqa: E402
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate  # noqa: E402
from vla_agent.policy.doubt.doubt_settings import Doubt  # noqa: E402
from vla_agent.policy.execution.realtime import Committed  # noqa: E402
from vla_agent.policy.loading import load_policy  # noqa: E402
from vla_agent.serving.openpi import read_description, resize_with_padding  # noqa: E402
from vla_agent.serving.protocol_messages import Metadata, Request, read_request  # noqa: E402
from vla_agent.serving.remote_policy import RemotePolicy, doubt_of  # noqa: E402
from vla_agent.serving.server import PolicyServer  # noqa: E402
from vla_agent.serving.server_limits import Limits  # noqa: E402
from vla_agent.serving.session import PendingRequests, share_weights  # noqa: E402
from vla_agent.serving.tokens import read_token  # noqa: E402
from vla_agent.serving.wire import pack, unpack  # noqa: E402

ROOT = Path(__file__).parents[2]
CONTRACT = tabletop_contract()
TOKEN = "a-token-of-the-tests"


class Wanderer:
    """Moves at random from its own generator, seeded by the instruction and the seed."""

    execute = 8
    contract = CONTRACT

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.rng = np.random.default_rng([seed, len(instruction)])

    def act(self, observation: Mapping[str, Any], committed: Committed | None = None) -> np.ndarray:
        if observation["state"][0] > 9:
            raise RuntimeError("the policy's own fault")
        shift = 0.001 * observation["images"]["front"].mean() / 255
        chunk = np.tile((self.rng.uniform(-0.02, 0.02, 7) + shift).astype(np.float32), (16, 1))
        return (
            chunk if committed is None else np.where(np.arange(16)[:, None] < committed.delay, committed.actions, chunk)
        )


class Slow(Wanderer):
    """Thinks until it is let go on; remembers what it saw."""

    def __init__(self) -> None:
        self.go, self.observed = threading.Event(), []  # shared by all sessions, see __deepcopy__

    def __deepcopy__(self, memo: Any) -> Slow:
        return self

    def act(self, observation: Mapping[str, Any], committed: Committed | None = None) -> np.ndarray:
        self.observed.append(float(observation["state"][0]))
        self.go.wait(20)
        return super().act(observation)


class Refuser(Wanderer):
    """Says why it holds still where the state's first number is positive."""

    doubter, refusal, doubt = "any", None, None

    def act(self, observation: Mapping[str, Any], committed: Committed | None = None) -> np.ndarray:
        self.refusal = "I see no red mug" if observation["state"][0] > 0 else None
        self.doubt = Doubt(0.75, self.refusal) if self.refusal else None
        return super().act(observation, committed)


def observation(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    images = {c.name: rng.integers(0, 255, (c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}
    return {"images": images, "state": plausible_state(CONTRACT, rng)}


def request(seed: int = 0, **more: Any) -> dict[str, Any]:
    return {**observation(seed), "prompt": "open the drawer", **more}


def serving(policy: Any = None, **options: Any) -> PolicyServer:
    limits = Limits(**options.pop("limits", {}))
    return PolicyServer(policy or Wanderer(), "tested", port=0, limits=limits, **options)


@pytest.fixture(scope="module")
def server():
    with serving(limits={"message_bytes": 2**20}) as running:
        yield running


def raw(server: PolicyServer, **options: Any) -> Any:
    socket = connect(server.url, compression=None, max_size=None, **options)
    socket.recv(timeout=20)
    return socket


# --- the wire ---------------------------------------------------------------------------------------------------------


def test_what_is_packed_comes_back():
    message = {
        "image": np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        "state": np.array([1.5, -2.0]),
        "nothing": np.zeros((0, 3), np.float32),
        "number": np.float32(0.5),
        "plain": [1, "two", None, True, {"a": 2.5}],
    }
    back = unpack(pack(message))
    assert back["plain"] == message["plain"] and back["number"] == 0.5
    for key in ("image", "state", "nothing"):
        assert back[key].dtype == message[key].dtype and np.array_equal(back[key], message[key])


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_message_is_refused(name):
    with pytest.raises(ServingError):
        unpack(MALFORMED[name])


def test_nothing_is_pickled_either_way():
    with pytest.raises(ServingError):
        pack({"a": object()})
    with pytest.raises(ServingError):
        pack({"a": np.array([object()])})
    for file in (ROOT / "vla_agent" / "serving").glob("*.py"):
        assert "import pickle" not in file.read_text() and "allow_pickle=True" not in file.read_text()


# --- requests and the queue -------------------------------------------------------------------------------------------


def test_both_forms_of_an_observation_are_read_alike():
    ours = observation()
    theirs = {f"observation/{n}": p for n, p in ours["images"].items()} | {
        "observation/state": list(map(float, ours["state"]))
    }
    one, other = read_request(ours | {"prompt": "x"}, CONTRACT), read_request(theirs | {"prompt": "x"}, CONTRACT)
    assert np.array_equal(one.observation["state"], other.observation["state"])
    assert all(np.array_equal(one.observation["images"][n], other.observation["images"][n]) for n in ours["images"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"prompt": 3}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"images": [1]}, "images"),
        ({"state": "abc"}, "state"),
        ({"state": np.full(17, np.nan)}, "state"),
        ({"id": b"x"}, "id"),
        ({"committed": {"actions": np.zeros((16, 7))}}, "committed"),
        ({"committed": {"actions": np.zeros((16, 7)), "decided": 3, "delay": 4}}, "committed"),
        ({"committed": {"actions": np.full((16, 7), np.inf), "decided": 3, "delay": 2}}, "committed"),
        ({"committed": {"actions": np.full((16, 7), 50.0), "decided": 3, "delay": 2}}, "committed"),
        ({"committed": {"actions": np.full((16, 7), 1e300), "decided": 3, "delay": 2}}, "committed"),
        ({"observation/state": np.zeros(17)}, "observation/state"),
        ({"observation/front": np.zeros((96, 96, 3), np.uint8)}, "observation/front"),
    ],
)
def test_an_invalid_request_is_refused(change, word):
    with pytest.raises((ServingError, ObservationError)) as caught:
        read_request(request() | change, CONTRACT)
    assert word in str(caught.value.key)


@pytest.mark.parametrize("key", ["promt", "instruction", "task", "Prompt"])
def test_an_instruction_under_another_key_is_not_passed_over(key):
    with pytest.raises(ServingError) as caught:
        read_request({**observation(0), key: "open the drawer"}, CONTRACT)
    assert caught.value.key == key and "did you mean prompt" in caught.value.found
    assert read_request({**request(), "task": "of another server", "session": 3}, CONTRACT).prompt == "open the drawer"


def test_the_oldest_is_dropped_and_its_instruction_is_not_lost():
    pending = PendingRequests(2)
    pending.add(Request({"n": 0}, prompt="stack", seed=7, reset=True, id=0))
    for n in range(1, 5):
        pending.add(Request({"n": n}, id=n))
    first, second = pending.take(), pending.take()
    assert (first.id, second.id, len(pending), pending.dropped) == (3, 4, 0, 3)
    assert (first.prompt, first.seed, first.reset) == ("stack", 7, True) and not second.reset


def test_a_copy_of_a_policy_shares_the_weights_and_nothing_else():
    torch = pytest.importorskip("torch")
    policy = torch.nn.Linear(3, 2)
    policy.instruction, policy.generator = ["x"], torch.Generator().manual_seed(1)
    own = share_weights(policy)
    assert own.weight is policy.weight and own.instruction is not policy.instruction
    own.generator.manual_seed(2)
    assert policy.generator.initial_seed() == 1


# --- server and client ------------------------------------------------------------------------------------------------


def test_a_remote_policy_acts_like_the_local_one(server):
    remote, local = RemotePolicy(server.url), Wanderer()
    assert (remote.contract, remote.execute) == (CONTRACT, 8)
    for seed in (3, 4):
        remote.reset("open the drawer", seed=seed)
        local.reset("open the drawer", seed=seed)
        for k in range(3):
            assert np.array_equal(remote.act(observation(k)), local.act(observation(k)))
    committed = Committed(np.full((16, 7), 0.01, np.float32), 6, 4)
    assert np.array_equal(remote.act(observation(), committed), local.act(observation(), committed))
    remote.close()


def test_a_refusal_travels_with_its_chunk():
    seen = observation()
    with serving(Refuser()) as server:
        remote = RemotePolicy(server.url)
        assert remote.metadata.refuses and remote.refusal is None
        remote.reset("take the red mug")
        for first, reason in ((1.0, "I see no red mug"), (-1.0, None), (1.0, "I see no red mug")):
            seen["state"][0] = first
            remote.act(seen)
            assert remote.refusal == reason and remote.doubt == (Doubt(0.75, reason) if reason else None)
        remote.reset("open the drawer")
        assert remote.refusal is None
        remote.close()


def test_a_policy_without_doubt_promises_no_refusals(server):
    remote = RemotePolicy(server.url)
    assert not remote.metadata.refuses
    before = {k: v for k, v in remote.metadata.to_dict().items() if k != "refuses"}
    assert Metadata.from_dict(before, "an older server") == remote.metadata
    remote.close()


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"refusal": None, "doubt": 0.9},
        {"refusal": 3, "doubt": 0.9},
        {"refusal": "x" * 2001, "doubt": 0.9},
        {"refusal": "I see no red mug", "doubt": None},
        {"refusal": "I see no red mug", "doubt": 1.5},
        {"refusal": "", "doubt": "much"},
        {"refusal": "", "doubt": float("nan")},
    ],
    ids=str,
)
def test_a_reply_that_hides_its_refusal_is_an_error(reply):
    with pytest.raises(ServingError, match="refusal"):
        doubt_of(reply, "a server")


def test_clients_do_not_disturb_each_other(server):
    clients = [RemotePolicy(server.url) for _ in range(3)]
    locals_ = [Wanderer() for _ in clients]
    for k, pair in enumerate(zip(clients, locals_, strict=True)):
        for policy in pair:
            policy.reset("open the drawer", seed=k)
    for k in range(3):
        for client, local in zip(clients, locals_, strict=True):
            assert np.array_equal(client.act(observation(k)), local.act(observation(k)))
    for client in clients:
        client.close()


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_ends_its_sender_alone(server, name):
    good, bad = RemotePolicy(server.url), raw(server)
    good.reset("open the drawer")
    bad.send(MALFORMED[name])
    assert "expected" in bad.recv(timeout=20)
    with pytest.raises(ConnectionClosed):
        bad.recv(timeout=20)
    assert good.act(observation()).shape == (16, 7)
    good.close()


def test_an_oversized_message_is_not_read(server):
    bad = raw(server)
    with pytest.raises(ConnectionClosed) as caught:
        bad.send(pack({"images": np.zeros(2**21, np.uint8)}))
        bad.recv(timeout=20)
    assert caught.value.rcvd.code == 1009


def test_a_wrong_observation_is_answered_in_words_and_the_next_one_in_actions(server):
    client = raw(server)
    client.send(pack(request() | {"state": np.zeros(3)}))
    assert "the state has the wrong shape" in client.recv(timeout=20)
    client.send(pack(observation()))
    assert "no instruction" in client.recv(timeout=20)
    client.send(pack(request(id="mine")))
    reply = unpack(client.recv(timeout=20))
    assert reply["actions"].shape == (16, 7) and reply["id"] == "mine" and reply["dropped"] == 0
    client.close()


def test_a_policy_that_fails_ends_one_episode_and_a_lost_connection_is_made_again(server):
    remote = RemotePolicy(server.url)
    remote.reset("open the drawer")
    broken = observation()
    broken["state"][0] = 10
    with pytest.raises(ServingError, match="RuntimeError"):
        remote.act(broken)
    with pytest.raises(ServingError):
        remote.act(observation())
    remote.reset("open the drawer")
    assert remote.act(observation()).shape == (16, 7)
    remote.close()


def test_the_newest_observation_is_served_and_older_ones_are_dropped():
    policy = Slow()
    with serving(policy) as server:
        client = raw(server)
        for n in range(1, 7):
            message = request(id=n)
            message["state"][0] = n
            client.send(pack(message))
            if n == 1:
                wait(lambda: policy.observed == [1.0])
        client.send(b"\x90")  # its error comes at once: all messages before it were read
        assert "is invalid" in client.recv(timeout=20)
        policy.go.set()
        replies = [unpack(client.recv(timeout=20)) for _ in range(2)]
        assert [r["id"] for r in replies] == [1, 6] and policy.observed == [1.0, 6.0] and replies[1]["dropped"] == 4


def wait(until: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def health(server: PolicyServer) -> int:
    try:
        with urllib.request.urlopen(server.url.replace("ws", "http") + "/healthz", timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_health_reports_an_inference_that_hangs():
    policy = Slow()
    with serving(policy, token=TOKEN, limits={"stalled_s": 0.2}) as server:
        assert health(server) == 200, "needs no token"
        client = raw(server, additional_headers={"Authorization": f"Api-Key {TOKEN}"})
        client.send(pack(request()))
        wait(lambda: health(server) == 503)
        policy.go.set()
        wait(lambda: health(server) == 200)


def test_clients_that_are_idle_too_many_or_web_pages_are_sent_away():
    with serving(limits={"idle_s": 0.3, "clients": 1}) as server:
        first = raw(server)
        with pytest.raises(ServingError, match="1 clients are connected"):
            RemotePolicy(server.url)
        with pytest.raises(ConnectionClosed):
            first.recv(timeout=20)
        wait(lambda: _connects(server))
        with pytest.raises(Exception, match="403"):
            connect(server.url, origin="http://a.web.page")


def _connects(server: PolicyServer) -> bool:
    try:
        RemotePolicy(server.url).close()
    except ServingError:
        return False
    return True


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x"])
def test_without_the_token_nobody_comes_in(token):
    with serving(token=TOKEN) as server:
        with pytest.raises(ServingError, match="401"):
            RemotePolicy(server.url, token)
        remote = RemotePolicy(server.url, TOKEN)
        remote.close()


def test_other_machines_need_a_token_and_a_token_file_is_private(tmp_path):
    with pytest.raises(OptionError, match="without a token"):
        serving(host="0.0.0.0")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    with pytest.raises(OptionError, match="other users"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    file.write_text("short")
    with pytest.raises(OptionError, match="5 characters"):
        read_token(file)


def test_a_port_that_is_taken_and_a_server_that_is_not_there_are_said(server):
    with pytest.raises(ServingError, match="cannot listen"):
        PolicyServer(Wanderer(), "second", port=server.port).start()
    with pytest.raises(ServingError, match="no policy server"):
        RemotePolicy("ws://127.0.0.1:1")


# --- the contract -----------------------------------------------------------------------------------------------------


def test_a_served_contract_is_checked_before_anything_moves():
    policy = Wanderer()
    policy.contract = replace(CONTRACT, control_hz=10.0)
    with serving(policy) as server:
        with pytest.raises(ContractError, match="control_hz"):
            evaluate(EvaluationSettings(server.url, ["press_button"], episodes=1, controls="none"))
        assert main(["inspect", server.url]) == 0
        assert main(["inspect", server.url, "--against", "sim"]) == 2


@pytest.mark.parametrize(
    "change", [{"contract_hash": "0"}, {"protocol": 2}, {"execute": 17}, {"contract": {"version": 2}}]
)
def test_metadata_that_cannot_be_meant_is_refused(change):
    sent = Metadata("x", CONTRACT, 8, True, {}).to_dict()
    assert Metadata.from_dict(unpack(pack(sent)), "here").contract == CONTRACT
    with pytest.raises((ServingError, ContractError)):
        Metadata.from_dict(sent | change, "here")


def test_a_server_that_says_no_contract_needs_a_description(tmp_path):
    with pytest.raises(ServingError, match="no contract"):
        Metadata.from_dict({"reset_pose": [0]}, "here")
    file = tmp_path / "server.yaml"
    file.write_text("url: http://x\ncontract: sim\nimages: {front: image}\nchunk_length: 8\nexecute: 4\nspeed: 3\n")
    with pytest.raises(OptionError) as caught:
        read_description(file)
    assert "url" in str(caught.value) and "speed" in str(caught.value)


def test_a_server_of_openpi_is_asked_in_its_own_keys(server, tmp_path):
    file = tmp_path / "server.yaml"
    text = f"url: {server.url}\ncontract: sim\nimages: {{front: images.front, wrist: images.wrist}}\nstate: state\n"
    file.write_text(text + "chunk_length: 16\nexecute: 8\nimage_size: [96, 96]\n")
    theirs, local = load_policy(str(file)), Wanderer()
    theirs.reset("open the drawer")
    local.reset("open the drawer")
    assert np.array_equal(theirs.act(observation()), local.act(observation()))
    theirs.close()
    file.write_text(text + "chunk_length: 10\nexecute: 8\n")
    wrong = load_policy(str(file))
    wrong.reset("open the drawer")
    with pytest.raises(ServingError, match="no chunk"):
        wrong.act(observation())
    wrong.close()


def test_an_image_is_resized_whole_with_black_padding():
    image = np.full((50, 100, 3), 200, np.uint8)
    padded = resize_with_padding(image, (224, 224))
    assert padded.shape == (224, 224, 3)
    assert (padded[:56] == 0).all() and (padded[56:168] == 200).all() and (padded[168:] == 0).all()


# --- through the harness and with openpi's own client -----------------------------------------------------------------


def test_an_evaluation_through_the_server_has_the_same_bits(server, tmp_path):
    def hashes(report: dict[str, Any]) -> list[tuple[str, str]]:
        return [(row["state_hash"], row["image_hash"]) for row in report["episodes"]]

    file = tmp_path / "press_button.yaml"  # whose episodes end soon
    file.write_text(re.sub(r"time_limit: \d+", "time_limit: 16", load_suite()["press_button"].file.read_text()))
    options: dict[str, Any] = {"tasks": [str(file)], "episodes": 1, "controls": "none"}
    here = evaluate(EvaluationSettings("wanderer", load=lambda _: Wanderer(), **options))
    there = evaluate(EvaluationSettings(server.url, out=tmp_path / "out", **options))
    assert hashes(here) == hashes(there)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["policy"] == server.url


def openpi_python() -> Path | None:
    named = os.environ.get("VLA_AGENT_OPENPI_PYTHON")
    path = Path(named) if named else ROOT / ".venv-openpi" / "bin" / "python"
    return path if path.exists() else None


@pytest.mark.skipif(
    openpi_python() is None, reason="no openpi-client: run `make openpi-check` (see tests/openpi_check)"
)
def test_openpi_client_is_served():
    def ask(url: str, token: str) -> dict[str, Any]:
        words = [str(openpi_python()), str(ROOT / "tests" / "openpi_check" / "ask.py"), url, token, "3"]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with serving(token=TOKEN) as server:
        sent = ask(server.url, TOKEN)
        assert Metadata.from_dict(sent["metadata"], "openpi").contract == CONTRACT
        assert sent["chunks"] == [{"shape": [16, 7], "dtype": "float32"}] * 3 and sent["again"] == [16, 7]
        assert "a camera is missing" in sent["wrong"]
        assert "401" in ask(server.url, "-")["refused"]


def test_serve_ends_by_sigterm_with_exit_code_0():
    words = [sys.executable, "-m", "vla_agent", "serve", "random", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    line = process.stdout.readline()
    remote = RemotePolicy(line.split(" at ")[1].split(",")[0])
    remote.reset("anything")
    assert remote.act(observation()).shape == (8, 7)
    process.terminate()
    assert process.wait(30) == 0
    with pytest.raises(ServingError):
        remote.act(observation())
