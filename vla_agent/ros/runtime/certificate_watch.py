"""Whether a robot's motors may move: checked in full before they do, and again and again while they may.  No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from vla_agent.errors import VlaAgentError
from vla_agent.files.policy_files import BASE, hash_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.certificate import Certificate, require_current, require_signed
from vla_agent.gate.certificate.demands import read_demands, require_demanded
from vla_agent.gate.certificate.enforce import Deployment, require_certificate
from vla_agent.gate.certificate.keys import keys_folder, revoked, trusted
from vla_agent.policy.inference_timing import p99_ms_in_subprocess
from vla_agent.policy.sources import is_server

PATIENCE = 2.0  # seconds that a check of the files may take while the robot moves
State = tuple[int, ...]  # of a file, and of the link to it: device, inode, size, times of change, ns


class CertificateWatch:
    """The certificate of ``policy`` in a deployment.

    Args:
        policy: its folder, or a server.
        file: ``certificate.json``; empty where there is none.
        deployment: robot, robot file, cameras, rate; latency and files are found out here.
        time_policy: (policy, enough ms, digest) -> 99th percentile of an inference on this machine, ms
            (default: measured in a process of its own).
    """

    def __init__(
        self,
        policy: str,
        file: str,
        deployment: Deployment,
        time_policy: Callable[[str, float, str], float] | None = None,
    ) -> None:
        self._policy, self._file, self._deployment = policy, file, deployment
        self._time = time_policy or p99_ms_in_subprocess
        self._certificate: Certificate | None = None
        self._timed: tuple[str, float] = ("", float("inf"))  # digest and p99 of what was timed on this machine, ms
        self._states: dict[str, State | None] = {}
        self._folders: dict[str, Path] = {}  # of the policy, and of an adapter's base ("base/"), as `check` found them

    def check(self) -> str:
        """Check everything, the policy's files and its latency on this machine included.

        Returns:
            why the robot may not move; empty where it may.  It takes as long as hashing, and the first time as timing.

        Raises:
            VlaAgentError: never; what is wrong is returned.
        """
        self._certificate = None
        try:
            known = replace(self._deployment, unknown=("latency_ms", "execution"))
            certificate = require_certificate(self._policy, self._file, known)
            assert certificate is not None  # it is None where nothing needs to be certified alone
            self._folders = self._find_folders(certificate)  # once: it may wait for a writer
            states = self._states_of(certificate)  # before the files are read again below
            allowed, digest = float(certificate.payload["latency"]["certified_ms"]), _digest(certificate)
            if not (self._timed[0] == digest and self._timed[1] <= allowed):
                self._timed = (digest, self._time(self._policy, allowed, digest))
            timed = replace(self._deployment, latency_ms=self._timed[1], unknown=("execution",))
            self._certificate, self._states = require_certificate(self._policy, self._file, timed), states
        except VlaAgentError as error:
            return _reason(error)
        except OSError as error:
            return f"not certified: a file cannot be read: {error.filename or error}"
        return ""

    @property
    def expired(self) -> bool:
        """Whether the time of the certificate is over, or there is none; cheap enough for every command."""
        return self.expired_at(datetime.now(timezone.utc))

    def expired_at(self, now: datetime) -> bool:
        """The same for another time."""
        return self._certificate is None or now >= datetime.fromisoformat(str(self._certificate.payload["expires"]))

    def covers(self, loaded: str) -> bool:
        """Whether ``loaded``, a digest that the policy node has announced, is the certified one."""
        return self._certificate is not None and loaded == _digest(self._certificate)

    def recheck(self, loaded: str = "") -> str:
        """Check again what may change while the robot moves; takes milliseconds.

        Validity, trusted keys, the list of what was revoked, the robot's demands; that the policy's files are untouched
        since `check`; and that the policy that runs is the certified one.

        Args:
            loaded: the digest that the policy node has announced; empty: none was, and `covers` is False.

        Returns:
            why the robot may not move any more; empty where it may.
        """
        certificate = self._certificate
        if certificate is None:
            return "not certified: nothing was checked"
        try:
            keys, robot = keys_folder(), self._deployment.robot
            key = require_signed(certificate, trusted(keys))
            require_current(certificate, revoked(keys), datetime.now(timezone.utc))
            demands = read_demands(robot, keys)
            require_demanded(certificate.payload, key.fingerprint, demands, certificate.file)
            if demands.robot_file != self._deployment.robot_file:
                return "not certified: the robot's demands name another robot file now: robot_file"
            states = self._states_of(certificate)
        except VlaAgentError as error:
            return _reason(error)
        except OSError as error:
            return f"not certified: a file cannot be read: {error.filename or error}"
        changed = sorted(name for name, state in states.items() if state is None or state != self._states.get(name))
        if changed:
            return f"not certified: the policy's files were written to: {', '.join(changed)}"
        if loaded and loaded != _digest(certificate):
            return f"not certified: the policy node has loaded another policy: digest {loaded[:12]}"
        return ""

    def _states_of(self, certificate: Certificate) -> dict[str, State | None]:
        """State of each certified file; None where it is gone.  Empty for a server."""
        if is_server(self._policy):
            return {}
        own, base = self._folders[""], self._folders.get(BASE)
        return {
            name: _state(base / name.removeprefix(BASE) if base and name.startswith(BASE) else own / name)
            for name in certificate.payload["policy"]["files"]
        }

    def _find_folders(self, certificate: Certificate) -> dict[str, Path]:
        if is_server(self._policy):
            return {}
        found = {"": find_folder(self._policy)}
        if any(name.startswith(BASE) for name in certificate.payload["policy"]["files"]):
            base = hash_policy_files(found[""]).base
            found |= {BASE: base.folder} if base else {}
        return found


class Background:
    """Runs one function at a time in a thread of its own, so that commands do not wait for files."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[str] | None = None
        self._began = 0.0  # of `time.monotonic`

    def start(self, check: Callable[[], str]) -> None:
        """Run it, unless the one before has not been asked for its result yet."""
        if self._running is None:
            self._running, self._began = self._pool.submit(check), time.monotonic()

    @property
    def overdue(self) -> bool:
        """Whether it has run for more than `PATIENCE` seconds: a folder of the network that does not answer."""
        return self._running is not None and not self._running.done() and time.monotonic() - self._began > PATIENCE

    def result(self, patience: float = 0.0) -> str | None:
        """What it returned, once; None where nothing is there within ``patience`` seconds."""
        running = self._running
        if running is None or not wait([running], patience).done:
            return None
        self._running = None
        return running.result()

    def close(self) -> None:
        """End the thread with what runs in it; nobody waits for that."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _state(file: Path) -> State | None:
    try:
        found = [file.lstat(), file.stat()]  # in a snapshot of the hub a name is a link, and its blob what is read
    except OSError:
        return None
    return tuple(n for s in found for n in (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))


def _digest(certificate: Certificate) -> str:
    return str(certificate.payload["policy"]["digest"])


def _reason(error: VlaAgentError) -> str:
    return f"not certified: {error.what}" + (f": {error.key}" if error.key else "")
