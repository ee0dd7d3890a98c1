"""Which topics a recorder takes: the robot's, all, or those of a list of names and patterns."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from vla_agent.errors import NodeError

ROBOT = "robot"  # in a list: the topics of the robot file and of our nodes
ALL = "all"  # in a list; a lone * is no text on the command line of ROS


class TopicChoice:
    """Names and patterns; those of ``exclude`` count more.

    Args:
        own: resolved names that the word ``robot`` stands for.
        include: names and patterns with ``*``, ``?`` and ``[...]``, separated by commas; ``all`` is every topic.
        exclude: the same.
        namespace: of the node: a name without a leading slash lies below it.

    Raises:
        NodeError: a list has an empty entry, or ``include`` none.
    """

    def __init__(self, own: Iterable[str], include: str, exclude: str, namespace: str = "/") -> None:
        self._own = frozenset(own)
        self._include = _patterns("include", include, namespace)
        self._exclude = _patterns("exclude", exclude, namespace) if exclude.strip() else ()

    def wants(self, topic: str) -> bool:
        """Whether a topic, by its resolved name, is recorded."""
        taken = any(topic in self._own if p == ROBOT else fnmatchcase(topic, p) for p in self._include)
        return taken and not any(topic in self._own if p == ROBOT else fnmatchcase(topic, p) for p in self._exclude)


def _patterns(key: str, text: str, namespace: str) -> tuple[str, ...]:
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise NodeError(
            "a list of topics has an empty entry",
            key=key,
            expected="names or patterns separated by commas, such as robot,/tf*,camera/*; or all",
            found=f"'{text}'",
            remedy="leave out the comma, or name a topic",
        )
    start = f"/{namespace.strip('/')}/".replace("//", "/")
    words = ["*" if word == ALL else word for word in words]
    return tuple(word if word in (ROBOT, "*") or word.startswith("/") else start + word for word in words)
