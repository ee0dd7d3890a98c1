"""The options of serving and evaluating that change how a policy computes."""

from __future__ import annotations

from typing import Any

from vla_agent.errors import OptionError

KINDS = ("int8", "int4", "bf16")  # of weights, or of products in OpenVINO, which has no int4


def check_kind(kind: str) -> None:
    """Raise where there is no such quantisation.

    Raises:
        OptionError: naming those that there are.
    """
    if kind and kind not in KINDS:
        raise OptionError(
            "there is no such quantisation",
            key="--quantise",
            expected=", ".join(KINDS),
            found=kind,
            remedy="int8 runs everywhere, int4 on a GPU, bf16 in OpenVINO on processors that have it",
        )


def accelerate(policy: Any, compiled: bool = False, quantise: str = "", openvino: bool = False) -> Any:
    """The policy, changed in place: first its weights, then the compilation or OpenVINO's graphs.

    Raises:
        OptionError: the policy is not computed here, or this machine cannot do it.
    """
    check_kind(quantise)
    if not (compiled or quantise or openvino):
        return policy
    if not hasattr(policy, "backbone"):
        raise OptionError(
            "this policy is not computed here",
            key="--quantise" if quantise else "--compile" if compiled else "--openvino",
            expected="a policy folder or hub id",
            found=type(policy).__name__,
            remedy="give the option to `vla-agent serve` where it is computed",
        )
    there = quantise if openvino and quantise in ("bf16", "int8") else ""
    if quantise and not there:
        from vla_agent.policy.speed.quantising import quantise as apply

        apply(policy, quantise)
        policy.quantised = quantise
    if compiled:
        from vla_agent.policy.speed.compiling import compile_policy

        compile_policy(policy)
    if openvino:
        from vla_agent.policy.speed.openvino import build_engine

        policy.engine = build_engine(policy, there)
        policy.quantised = there
    return policy
