"""An exported policy for the project's own harness: evaluation, gate, server, ROS 2 nodes.

Its runner is the module here, never the file in the folder: nothing in a folder is executed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_agent.errors import CheckpointError, ContractError, OptionError
from vla_agent.export.exported.graphs import MANIFEST, open_onnx
from vla_agent.export.exported.openvino_graph import open_openvino
from vla_agent.export.exported.run import Policy
from vla_agent.files.policy_files import PolicyFiles
from vla_agent.models.reader.reader import Reader, Reading
from vla_agent.policy.doubt.doubt_settings import Doubt
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.execution.seams import fade_in

RUNTIMES = {"onnx": open_onnx, "openvino": open_openvino}


class ExportedPolicy(Policy):
    """As `run.Policy`, with what the harness asks of any policy.

    Attributes:
        files, digest: as of `vla_agent.policy.policy.VLAPolicy`.
        runtime: "onnx" or "openvino".
    """

    accepts_oracle = False

    def __init__(self, files: PolicyFiles, runtime: str, threads: int = 1) -> None:
        super().__init__(files.folder, files.read, RUNTIMES[runtime], threads)
        self.files, self.digest, self.runtime = files.hashes, files.digest, runtime
        self._held, self._threads = files, threads

    def act(self, observation: dict[str, Any], noise: Any = None, committed: Committed | None = None) -> np.ndarray:
        """As `run.Policy.act`; ``committed`` as of `VLAPolicy.act`."""
        if committed is None:
            return super().act(observation, noise)
        if not self._text:
            raise CheckpointError("the policy has no instruction", key="reset", remedy="call reset(instruction) first")
        self.contract.check_observation(observation)
        start = future_state(self.contract, np.asarray(observation["state"], np.float32), committed.frozen)
        return self.contract.check_chunk(fade_in(self.contract, committed, self.chunk(observation, start, noise)))

    def __deepcopy__(self, memo: dict[int, Any]) -> ExportedPolicy:
        """The same policy with graphs of its own, for another client of a server."""
        return ExportedPolicy(self._held, self.runtime, self._threads)

    @property
    def doubter(self) -> Doubter | None:
        """What doubts, where it does."""
        return self.words.doubter

    @property
    def reader(self) -> Reader | None:
        """What reads instructions, where it does."""
        return self.words.reader

    @property
    def doubt(self) -> Doubt | None:
        """As of `VLAPolicy`."""
        return self.words.doubt

    @property
    def reading(self) -> Reading | None:
        """How the instruction was understood, where there is a reader."""
        return self.words.reading

    def forget(self) -> None:
        """Forget the instruction."""
        self._text = {}

    def accelerated(self, compiled: bool, quantise: str, openvino: bool) -> ExportedPolicy:
        """The policy in another runtime.

        Raises:
            OptionError: it was not exported for it, or the option changes weights, which are final here.
        """
        if compiled or quantise:
            raise OptionError(
                "an exported policy is computed as it was exported",
                key="--compile" if compiled else "--quantise",
                expected="no option, or --openvino",
                found=quantise or "--compile",
                remedy="export it again with --int8, or give the option to the policy that was exported",
            )
        return ExportedPolicy(self._held, "openvino" if openvino else self.runtime, self._threads)


def exported_from(files: PolicyFiles) -> ExportedPolicy:
    """The exported policy of files that were read: in onnxruntime where it has graphs for it, else in OpenVINO.

    Raises:
        CheckpointError: a file is missing, damaged or of another format, or the runtime is not installed.
        ContractError: its contract cannot be read.
    """
    try:
        about = files.json(MANIFEST)
        return ExportedPolicy(files, about["formats"][0])
    except (CheckpointError, ContractError):
        raise
    except ImportError as error:
        raise CheckpointError(
            "the exported policy needs a package that is not installed",
            file=files.folder,
            key=error.name or "runtime",
            expected="onnxruntime for graphs of ONNX, openvino for its IR",
            found=str(error),
            remedy="pip install 'vla_agent[export]'",
        ) from error
    except Exception as error:  # a runtime's own errors have no common type
        raise CheckpointError(
            "the exported policy cannot be opened",
            file=files.folder,
            key="export.json",
            expected="the files that `vla-agent export` wrote, whole and as they were",
            found=" ".join(f"{type(error).__name__}: {error}".split())[:300],
            remedy="get the folder again, or export the policy again",
        ) from error
