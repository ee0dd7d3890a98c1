"""Which names stand for a policy elsewhere, and how to get it.  Cheap to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_agent.errors import ServingError
from vla_agent.hashing import hash_file

if TYPE_CHECKING:
    from vla_agent.serving.messages import Metadata

SCHEMES = ("ws://", "wss://")


def is_server(name: str) -> bool:
    """Whether a policy's name is the address of a server."""
    return str(name).startswith(SCHEMES)


def is_remote(name: str) -> bool:
    """Whether a policy's name is the address of a server, or a file that describes one."""
    return is_server(name) or str(name).endswith((".yaml", ".yml"))


def load_any(name: str) -> Any:
    """The policy of a folder, a hub id, a server's address or a file that describes a server of openpi.

    The token is taken from the variable VLA_AGENT_TOKEN.

    Raises:
        VlaAgentError: there is none, or it cannot be used.
    """
    if not is_remote(name):
        from vla_agent.policy import load_policy

        return load_policy(name)
    require_packages()
    from vla_agent.serving.tokens import read_token

    if is_server(name):
        from vla_agent.serving.client import RemotePolicy

        return RemotePolicy(name, read_token(None))
    from vla_agent.serving.openpi import OpenPiPolicy, read_description

    return OpenPiPolicy(read_description(Path(name)), read_token(None))


def metadata_of(url: str) -> Metadata:
    """What the server at ``url`` says of its policy.

    Raises:
        ServingError: there is none, or it says no contract.
    """
    from vla_agent.serving.client import RemotePolicy

    policy: RemotePolicy = load_any(url)
    policy.close()
    return policy.metadata


def files_of(name: str) -> dict[str, str]:
    """Name -> SHA-256: what a server says of the policy's files, or the file that describes a server.

    Raises:
        VlaAgentError: there is none.
    """
    if is_server(name):
        return dict(metadata_of(name).files)
    return {Path(name).name: hash_file(name)}


def require_packages() -> None:
    """Raise where the packages that serving needs are missing.

    Raises:
        ServingError: with how to install them.
    """
    try:
        import msgpack  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ServingError(
            "serving needs packages that are not installed",
            key=error.name,
            expected="msgpack and websockets",
            found=str(error),
            remedy="pip install 'vla_agent[serving]'",
        ) from error
