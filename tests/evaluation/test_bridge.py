"""Real trials and simulated episodes that fit give a report and a page; others are refused by row and column."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from vla_agent.cli import main
from vla_agent.errors import OptionError, ReportError
from vla_agent.evaluation.bridge.bridge import bridge
from vla_agent.evaluation.bridge.bridge_page import page
from vla_agent.evaluation.bridge.pairing import pair
from vla_agent.evaluation.bridge.real_trials import parse_trials
from vla_agent.evaluation.bridge.recorded_trials import with_recordings
from vla_agent.evaluation.bridge.simulated_episodes import read_simulated
from vla_agent.evaluation.bridge.trial_plan import trial_plan
from vla_agent.files.canonical_json import digest

TASKS = ("press_button", "stack")
FILES = {"policy.json": "a" * 64}


def simulate(folder, episodes=40, files=FILES, tasks=TASKS, **changed):
    """A report of vla-agent eval: of every task, two of three episodes succeed."""
    rows = [
        {"task": task, "instruction": "", "seed": 100 + k, "success": (k + place) % 3 > 0, "steps": 1, "failure": None,
         "control": "policy", "state_hash": "", "image_hash": ""}
        for k in range(episodes) for place, task in enumerate(tasks)
    ]  # fmt: skip
    report = {"policy": folder.name, "suite": "tabletop", "split": "seen", "versions": {}, "summary": {},
              "hashes": {"policy": files, "tasks": {}, "simulator": "s"}, "episodes": rows}  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report | changed))
    return folder


def write(file, rows, header="policy,task,seed,success"):
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def good_rows(folder, number=12, wrong=2):
    """Trials that agree with the simulation except ``wrong`` of them."""
    simulated = read_simulated(folder)
    scenes = list(simulated.outcomes.items())[:number]
    return [
        f"{simulated.policy},{task},{seed},{int(outcome != (place < wrong))}"
        for place, ((task, seed), outcome) in enumerate(scenes)
    ]


def test_the_report_has_the_counts_of_every_task_and_a_page_that_says_so(tmp_path):
    folder = simulate(tmp_path / "mine")
    file = write(tmp_path / "trials.csv", good_rows(folder))
    out = tmp_path / "out"
    assert main(["bridge", str(file), "--simulated", str(folder), "-o", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    (policy,) = report["policies"]
    every = policy["all"]
    assert policy["digest"] == digest(FILES) and set(policy["tasks"]) == set(TASKS)
    assert every["real"]["n"] == 12 == sum(policy["tasks"][t]["real"]["n"] for t in TASKS)
    assert every["counts"]["simulated"] == 2 * (40 - 6)
    assert every["counts"]["n1"] + every["counts"]["n0"] == 12
    assert every["interval"][0] < every["rate"] < every["interval"][1]
    html = (out / "report.html").read_text()
    assert "press button" in html and f"{100 * every['rate']:.1f}" in html and "http" not in html.split("<body>")[1]
    assert main(["bridge", str(file), "--simulated", str(folder), "--min-rate", "0.99"]) == 1


def test_unequal_numbers_of_trials_take_simulated_episodes_in_the_same_proportion(tmp_path):
    folder = simulate(tmp_path / "mine")
    rows = [row for row in good_rows(folder, 24) if ",stack," not in row] + good_rows(folder, 8)[1::2]
    (study,) = pair(tmp_path / "t.csv", parse_trials(tmp_path / "t.csv", write(tmp_path / "t.csv", rows).read_bytes()),
                    [read_simulated(folder)])  # fmt: skip
    counts = study.counts()
    assert counts.n == 16 and study.counts("stack").n == 4
    assert counts.simulated == 28 + 9  # 40 - 12 press_button for 12 trials; for 4 trials of stack a third as many
    assert study.counts("stack").simulated == 36


def test_several_policies_are_told_apart_by_their_digests_and_put_in_order(tmp_path):
    one, two = simulate(tmp_path / "a"), simulate(tmp_path / "b", files={"policy.json": "b" * 64})
    rows = good_rows(one) + [row[:-1] + "0" for row in good_rows(two)]
    file = write(tmp_path / "trials.csv", rows)
    report = bridge(file, file.read_bytes(), [read_simulated(one), read_simulated(two)])
    assert [p["name"] for p in report["policies"]] == [str(one.name), str(two.name)]
    assert report["order"]["policies"]["n"] == 2 and report["order"]["policies"]["mmrv"] > 0
    assert "order the policies" in page(report)


def test_another_simulator_gives_its_outcomes_as_csv(tmp_path):
    rng = np.random.default_rng(1)
    simulated = write(tmp_path / "simulated.csv", [f"pour,kitchen {k},{int(rng.random() < 0.7)}" for k in range(50)],
                      "task,scene,success")  # fmt: skip
    trials = write(tmp_path / "trials.csv", ["pour,kitchen 3,true", "pour,kitchen 4,FALSE", "pour,bath,1,"][:2]
                   + ["pour,bath,1"], "task,scene,success")  # fmt: skip
    with pytest.raises(ReportError, match="row 4"):
        bridge(trials, trials.read_bytes(), [read_simulated(simulated)])
    write(trials, ["pour,kitchen 3,true,", "pour,kitchen 4,FALSE,", "pour,bath,1,0"], "task,scene,success,simulated")
    (policy,) = bridge(trials, trials.read_bytes(), [read_simulated(simulated)])["policies"]
    assert policy["digest"] is None and policy["all"]["real"] | {"interval": 0} == {
        "k": 2, "n": 3, "rate": 2 / 3, "interval": 0}  # fmt: skip
    assert policy["all"]["counts"]["simulated"] == 48


P = digest(FILES)
WRONG = {
    "no success column": ("task,seed\n", "row 1", "task, seed"),
    "unknown column": ("policy,task,seed,sucess\n", "row 1", "did you mean success?"),
    "two scene columns": ("task,seed,scene,success\n", "row 1", "seed, scene"),
    "no rows": ("policy,task,seed,success\n", "row 2", "none"),
    "success yes": (f"policy,task,seed,success\n{P},stack,100,yes\n", "row 2, column success", "'yes'"),
    "success 0.5": (f"policy,task,seed,success\n{P},stack,100,0.5\n", "row 2, column success", "'0.5'"),
    "success empty": (f"policy,task,seed,success\n{P},stack,100,\n", "row 2, column success", "''"),
    "unknown task": (f"policy,task,seed,success\n{P},stak,100,1\n", "row 2, column task", "stak"),
    "unpaired": (f"policy,task,seed,success\n{P},stack,7,1\n", "row 2, columns task and scene", "was not simulated"),
    "another policy": (f"policy,task,seed,success\n{'0' * 64},stack,100,1\n", "row 2, column policy", "0000"),
    "short digest": (f"policy,task,seed,success\n{P[:5]},stack,100,1\n", "row 2, column policy", P[:5]),
    "twice": (f"policy,task,seed,success\n{P},stack,100,1\n\n{P},stack,0100,0\n", "row 4", "rows 2 and 4"),
    "negative seed": (f"policy,task,seed,success\n{P},stack,-1,1\n", "row 2, column seed", "'-1'"),
    "too few values": (f"policy,task,seed,success\n{P},stack,100\n", "row 2", "3 values"),
    "open quote": (f'policy,task,seed,success\n{P},"stack,100,1\n', "row", "end of data"),
    "other outcome": ("task,seed,success,simulated\nstack,100,1,0\n", "row 2, column simulated", "0"),
    "not text": (b"\xff\xfe\x00", "encoding", "not UTF-8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_with_row_and_column(tmp_path, case):
    content, key, found = WRONG[case]
    folder, file = simulate(tmp_path / "mine"), tmp_path / "trials.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ReportError) as caught:
        bridge(file, file.read_bytes(), [read_simulated(folder)])
    error = caught.value
    assert error.file == str(file) and key in error.key and found in error.found and error.remedy


def test_simulated_episodes_that_are_no_fixed_sample_or_not_told_apart_are_refused(tmp_path):
    gate = simulate(tmp_path / "gate", gate={})
    with pytest.raises(ReportError, match="no sample of fixed size"):
        read_simulated(gate)
    one = simulate(tmp_path / "one")
    file = write(tmp_path / "t.csv", good_rows(one))
    with pytest.raises(ReportError, match="do not tell the policies apart"):
        bridge(file, file.read_bytes(), [read_simulated(one), read_simulated(one)])
    everything = write(tmp_path / "all.csv", good_rows(one, 80))
    with pytest.raises(ReportError, match="have no real trial"):
        bridge(everything, everything.read_bytes(), [read_simulated(one)])


def test_a_plan_takes_the_first_seeds_of_every_task_and_waits_to_be_filled_in(tmp_path):
    folder, file = simulate(tmp_path / "mine"), tmp_path / "plan.csv"
    arguments = ["bridge", "--plan", "7", "--simulated", str(folder), "-o", str(file)]
    assert main(arguments) == 0 and main(arguments) == 2  # never overwritten
    rows = list(csv.DictReader(file.open()))
    assert [(r["task"], r["seed"]) for r in rows[:3]] == [
        ("press_button", "100"),
        ("stack", "100"),
        ("press_button", "101"),
    ]
    assert len(rows) == 7 and {r["policy"] for r in rows} == {P} and not any(r["success"] for r in rows)
    with pytest.raises(ReportError, match="column success"):
        parse_trials(file, file.read_bytes())
    with pytest.raises(OptionError, match="not that many"):
        trial_plan(read_simulated(folder), 50)


BAD = (
    ["--plan", "5"],
    ["t.csv"],
    ["t.csv", "--simulated", "x", "--level", "2"],
    ["--verify"],
    ["t.csv", "--simulated", "x", "--sign"],
)


@pytest.mark.parametrize("arguments", BAD)
def test_missing_and_impossible_options_are_bad_input(arguments, capsys):
    assert main(["bridge", *arguments]) == 2
    assert "vla-agent bridge --help" in capsys.readouterr().err


def record(folder, outcome, policy=P):
    folder.mkdir()
    custom = {"outcome": json.dumps(outcome), "policy": json.dumps(policy)}
    lines = "".join(f"    {key}: '{value}'\n" for key, value in custom.items())
    (folder / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  version: 9\n  custom_data:\n{lines}")


def test_recordings_say_outcome_and_policy_themselves(tmp_path):
    folder = simulate(tmp_path / "mine")
    record(tmp_path / "episode-0000", "success")
    record(tmp_path / "episode-0001", "failure")
    file = write(tmp_path / "t.csv", ["stack,100,episode-0000", "stack,101,episode-0001"], "task,seed,recording")
    trials = parse_trials(file, with_recordings(file, file.read_bytes()))
    assert [(t.success, t.policy) for t in trials] == [(True, P), (False, P)]
    assert main(["bridge", str(file), "--simulated", str(folder)]) == 0
    plain = write(tmp_path / "plain.csv", good_rows(folder)).read_bytes()
    assert with_recordings(tmp_path / "plain.csv", plain) == plain


SILENT = [
    ("stack,100,episode-0000,0", "column success"),
    ("stack,100,none,", "file"),
    ("stack,100,,1", "column recording"),
    ("stack,100,open,", "outcome"),
]


@pytest.mark.parametrize("row, key", SILENT)
def test_recordings_that_contradict_or_say_nothing_are_refused(tmp_path, row, key):
    record(tmp_path / "episode-0000", "success")
    record(tmp_path / "open", None)
    file = write(tmp_path / "t.csv", [row], "task,seed,recording,success")
    with pytest.raises(ReportError) as caught:
        with_recordings(file, file.read_bytes())
    assert key in caught.value.key and caught.value.remedy
