"""``actions.npz`` of a gate: what was executed in every episode, bound to the episodes by a hash in each row."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.errors import CertificateError
from vla_agent.evaluation.result_store import key_of, read_episode_arrays

ACTIONS = "actions.npz"


def actions_hash(actions: np.ndarray, looks: np.ndarray) -> str:
    """SHA-256 of the actions (N, A), float32, and of the control steps at which images were observed, int32."""
    sha = hashlib.sha256(f"{actions.shape} {looks.shape}".encode())
    sha.update(np.ascontiguousarray(actions, "<f4").tobytes())
    sha.update(np.ascontiguousarray(looks, "<i4").tobytes())
    return sha.hexdigest()


def actions_bytes(
    rows: Sequence[Mapping[str, Any]], actions: Mapping[str, np.ndarray], looks: Mapping[str, np.ndarray]
) -> bytes:
    """The file's bytes, from what was played."""
    keys = [key_of(row) for row in rows]
    arrays = {f"{k}/actions": actions[k] for k in keys} | {f"{k}/looks": looks[k] for k in keys}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes names for options
    return stream.getvalue()


def read_actions(file: Path, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Actions (N, A) and looks of a row's episode.

    Raises:
        CertificateError: they cannot be read, are larger than any, or are not those whose hash the row holds.
    """
    key = key_of(row)
    try:
        actions, looks = read_episode_arrays(file, key, CertificateError)
        found = actions_hash(actions, looks)
    except CertificateError:
        raise
    except Exception as error:  # missing, damaged, or not numbers
        found = f"{type(error).__name__}: {error}"
    if found != row["actions_hash"]:
        raise CertificateError(
            "the episode's actions are not those that were played",
            file=file,
            key=key,
            expected=row["actions_hash"],
            found=found,
            remedy="get the evidence again, or run the gate again",
        )
    return actions, looks
