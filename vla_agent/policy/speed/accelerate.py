"""Options of serving and evaluation that change how a policy is computed."""

from __future__ import annotations

from typing import Any

from vla_agent.errors import OptionError

KINDS = ("int8", "int4", "bf16")  # of weights, or of matrix products in OpenVINO (there no int4)


def check_kind(kind: str) -> None:
    """Check the name of a quantisation.

    Raises:
        OptionError: there is none of this name; lists the valid ones.
    """
    if kind and kind not in KINDS:
        raise OptionError(
            "there is no such quantisation",
            key="--quantise",
            expected=", ".join(KINDS),
            found=kind,
            remedy="int8 runs everywhere, int4 on a GPU, bf16 in OpenVINO on processors with bf16",
        )


def accelerate(policy: Any, compiled: bool = False, quantise: str = "", openvino: bool = False) -> Any:
    """The policy, changed in place: first its weights, then the compilation or OpenVINO's graphs.

    Raises:
        OptionError: the policy runs on another machine, or this machine does not support the option.
    """
    check_kind(quantise)
    if not (compiled or quantise or openvino):
        return policy
    if hasattr(policy, "accelerated"):  # an exported policy
        return policy.accelerated(compiled, quantise, openvino)
    if not hasattr(policy, "backbone"):
        raise OptionError(
            "this policy is not computed on this machine",
            key="--quantise" if quantise else "--compile" if compiled else "--openvino",
            expected="a policy folder or hf://OWNER/NAME",
            found=type(policy).__name__,
            remedy="give the option to `vla-agent serve` on the machine that computes it",
        )
    products = quantise if openvino and quantise in ("bf16", "int8") else ""
    if quantise and not products:
        from vla_agent.policy.speed.quantising import quantise as apply

        apply(policy, quantise)
        policy.quantised = quantise
    if compiled:
        from vla_agent.policy.speed.compiling import compile_policy

        compile_policy(policy)
    if openvino:
        from vla_agent.policy.speed.openvino import build_engine

        policy.engine = build_engine(policy, products)
        policy.quantised = products
    return policy
