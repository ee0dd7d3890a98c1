"""Malformed messages and misbehaving clients, by name: cases of `policy-serve-faults` and of the tests."""

from __future__ import annotations

import pickle
from typing import Any

import msgpack
import numpy as np

from benchmarks.serving.serve_clients import (
    TOKEN,
    Client,
    announces_a_huge_frame,
    asks,
    breaks_the_policy,
    floods,
    half_a_frame,
    half_a_handshake,
    idles,
    knocks,
    leaves_at_once,
    leaves_during_inference,
    leaves_in_the_handshake,
    leaves_within_a_frame,
    malformed,
    never_reads,
    not_a_websocket,
    oversized,
    oversized_in_pieces,
    resets,
    says_text,
    too_many,
)
from vla_agent.serving.tokens import headers
from vla_agent.serving.wire import pack


def array(**changed: Any) -> bytes:
    """An encoded array with invalid fields."""
    fields = {"__ndarray__": True, "data": b"12345678", "dtype": "<f4", "shape": [2]} | changed
    return msgpack.packb({k.encode(): v for k, v in fields.items()})


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "no msgpack": b"\xc1\xc1",
    "cut off": pack({"a": np.arange(100)})[:-7],
    "two messages": pack(1) + pack(2),
    "a pickle": pickle.dumps({"state": [1]}),
    "too deep": b"\x91" * 5000 + b"\x01",
    "a list of four billion": b"\xdd\xff\xff\xff\xff",
    "a list too long": msgpack.packb(list(range(10_000))),
    "more shape than bytes": array(shape=[2**40]),
    "less shape than bytes": array(shape=[1]),
    "a negative shape": array(shape=[-2, -1]),
    "a shape that is none": array(shape="2"),
    "nine dimensions": array(shape=[1] * 8 + [2]),
    "objects": array(dtype="|O8"),
    "records": array(dtype="i,i", shape=[1]),
    "no dtype": array(dtype="nope"),
    "no data": array(data=None),
    "a number beyond its type": msgpack.packb({b"__npgeneric__": True, b"data": 10**9, b"dtype": "|u1"}),
    "an extension": msgpack.packb(msgpack.ExtType(5, b"x")),
    "a time": msgpack.packb(msgpack.Timestamp(1)),
}


CLIENTS: dict[str, Client] = {
    **{f"malformed: {name}": malformed(message) for name, message in MALFORMED.items()},
    "malformed: text": says_text,
    "request: no camera": asks("camera is missing", images={}),
    "request: an image of another size": asks("wrong shape", images={"front": np.zeros((3, 3, 3), np.uint8)}),
    "request: a state of another length": asks("wrong shape", state=np.zeros(3)),
    "request: NaN": asks("NaN", state=np.full(17, np.nan, np.float32)),
    "request: a ragged state": asks("inhomogeneous", state=[[1.0], [2.0, 3.0]]),
    "request: no instruction": asks("no instruction", prompt=None),
    "request: a prompt that is a number": asks("prompt", prompt=5),
    "request: a prompt without end": asks("prompt", prompt="x" * 50_000),
    "request: rows decided that are none": asks("committed", committed={"actions": np.zeros(3)}),
    "oversized: one frame": oversized,
    "oversized: in pieces": oversized_in_pieces,
    "oversized: announced": announces_a_huge_frame,
    "slow: half a frame": half_a_frame,
    "slow: half a handshake": half_a_handshake,
    "slow: takes no reply": never_reads,
    "slow: says nothing": idles,
    "flood: a hundred observations": floods,
    "flood: too many clients": too_many,
    "leaves: in the handshake": leaves_in_the_handshake,
    "leaves: at once": leaves_at_once,
    "leaves: within a frame": leaves_within_a_frame,
    "leaves: during its inference": leaves_during_inference,
    "leaves: by a reset": resets,
    "unauthenticated: no token": knocks(401),
    "unauthenticated: wrong token": knocks(401, additional_headers={"Authorization": "Api-Key wrong"}),
    "unauthenticated: longer token": knocks(401, additional_headers={"Authorization": f"Api-Key {TOKEN}x"}),
    "unauthenticated: another scheme": knocks(401, additional_headers={"Authorization": f"Basic {TOKEN}"}),
    "unauthenticated: two tokens": knocks(
        401, additional_headers=[("Authorization", f"Api-Key {TOKEN}"), ("Authorization", "Api-Key wrong")]
    ),
    "unauthenticated: a web page": knocks(403, origin="http://a.web.page", additional_headers=headers(TOKEN)),
    "not a websocket: noise": not_a_websocket(b"\x16\x03\x01\x02\x00\x01\x00" + b"\xff" * 500),
    "not a websocket: a post": not_a_websocket(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
    "policy: fails for one client": breaks_the_policy,
}
