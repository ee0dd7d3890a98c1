"""Remote policies: those of a server, with the interface of local ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import OptionError, ServingError
from vla_agent.files.canonical_json import digest
from vla_agent.policy.doubt.doubt_settings import Doubt
from vla_agent.policy.execution.realtime import Committed
from vla_agent.serving.connection import Connection
from vla_agent.serving.protocol_messages import Metadata

LONGEST_REFUSAL = 2000  # characters
TIMEOUT = 30.0  # seconds; the first inference of a large policy compiles


class RemotePolicy:
    """A policy behind `vla-agent serve`; contract and steps to execute come from the server.

    A lost connection ends the episode: `act` raises, and the next `reset` connects again, only to the same policy.

    Args:
        url: ``ws://HOST:PORT``.
        token: of the server, where it has one.
        timeout: seconds for the connection, and for each reply.
        expected: the digest over the files that the server must state; None: any.

    Raises:
        ServingError: no server listens there, it refuses the connection, sends no contract, or states other files.
        ContractError: its contract cannot be read.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout: float = TIMEOUT, expected: str | None = None
    ) -> None:
        self._connect: Callable[[], Connection] = lambda: Connection(url, token, timeout)
        self._connection = self._connect()
        self.metadata = Metadata.from_dict(self._connection.metadata, url)
        if expected is not None:
            self._require(expected)
        self.contract, self.execute = self.metadata.contract, self.metadata.execute
        self._episode: dict[str, Any] = {}
        self.doubt: Doubt | None = None  # after `act`, where the policy says something of that
        self.refusal: str | None = None  # why the last chunk holds the robot still; None where it does not

    def _require(self, expected: str) -> None:
        """Check the identity that the server states; the connection is closed where it is another."""
        found = digest(dict(self.metadata.files))
        if found != expected:
            self.close()
            raise ServingError(
                "the server's policy is not the expected one",
                file=self._connection.url,
                key="digest",
                expected=expected,
                found=found,
                remedy="serve exactly the files that were expected, and leave the server as it is while it is in use",
            )

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Begin an episode; the server is notified with the first observation.

        Raises:
            ServingError: the connection was lost, and there is no server any more, or it has another policy.
        """
        if not self._connection.open:
            connection = self._connect()
            found = Metadata.from_dict(connection.metadata, connection.url)
            if found != self.metadata:
                connection.close()
                raise ServingError(
                    "the server has another policy than before",
                    file=connection.url,
                    expected=f"{self.metadata.policy}, contract {self.contract.hash[:12]}",
                    found=f"{found.policy}, contract {found.contract.hash[:12]}, files changed",
                    remedy="restart the evaluation, or configure the robot again",
                )
            self._connection = connection
        self._episode = {"prompt": instruction, "seed": int(seed), "reset": True}
        self.refusal = self.doubt = None

    def act(self, observation: Mapping[str, Any], committed: Committed | None = None) -> np.ndarray:
        """One observation -> chunk (T, A) float32 in the contract's units.

        Raises:
            ObservationError: the observation does not fit the contract.
            OptionError: ``committed`` for a policy that cannot continue chunks.
            ServingError: no server, no reply in time, or an invalid one.
            ContractError: the reply is no chunk.
        """
        self.contract.check_observation(observation)
        images = {name: np.ascontiguousarray(observation["images"][name]) for name in self.contract.camera_names}
        message = {"images": images, "state": np.asarray(observation["state"], np.float32)} | self._episode
        if committed is not None:
            self._require_continuing()
            decided = {"decided": int(committed.decided), "delay": int(committed.delay)}
            message["committed"] = {"actions": np.asarray(committed.actions, np.float32)} | decided
        reply = self._connection.ask(message)
        self._episode = {}
        if self.metadata.refuses:
            self.doubt, self.refusal = doubt_of(reply, self._connection.url)
        return chunk_of(reply, self.contract, self._connection.url)

    def _require_continuing(self) -> None:
        if not self.metadata.realtime:
            raise OptionError(
                "this policy cannot be executed in real time",
                key="--execution",
                expected="a server with realtime in its metadata",
                found=f"{self.metadata.policy} at {self._connection.url}",
                remedy="use open_loop, ensemble or adaptive",
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def doubt_of(reply: Mapping[str, Any], server: str) -> tuple[Doubt | None, str | None]:
    """The doubt in a reply, None where it says nothing of that; and why the chunk holds the robot still, None: it acts.

    Raises:
        ServingError: they are missing or cannot be meant.
    """
    refusal, doubt = reply.get("refusal"), reply.get("doubt")
    known = isinstance(doubt, float) and 0 <= doubt <= 1
    if not isinstance(refusal, str) or len(refusal) > LONGEST_REFUSAL or not (known or (doubt is None and not refusal)):
        raise ServingError(
            "the reply does not say whether it is a refusal",
            file=server,
            key="refusal, doubt",
            expected=f"a text of at most {LONGEST_REFUSAL} characters, empty for none, and a probability",
            found=f"{type(refusal).__name__} {refusal!s:.40}, {type(doubt).__name__} {doubt!s:.20}",
            remedy="run the same release of vla-agent on both sides",
        )
    return Doubt(float(doubt), refusal) if known and doubt is not None else None, refusal or None


def chunk_of(reply: Mapping[str, Any], contract: Contract, server: str) -> np.ndarray:
    """The chunk (T, A) in a reply.

    Raises:
        ServingError: there is none.
        ContractError: it is not T finite rows of the contract's action.
    """
    actions = reply.get("actions")
    shape = (contract.chunk_length, contract.action_dim)
    if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "iuf" or actions.shape != shape:
        raise ServingError(
            "the reply holds no chunk",
            file=server,
            key="actions",
            expected=f"{shape} numbers",
            found=f"{getattr(actions, 'shape', type(actions).__name__)}; keys {sorted(map(str, reply))}",
            remedy="check that the contract is that of the server's policy",
        )
    return contract.check_chunk(actions)
