"""instruction_node: what is typed, set or spoken becomes the instruction; an empty one stops the policy.

out: instruction (String, latched), /diagnostics
services: instruction/stop (Trigger: the empty instruction)
parameters: text (each time it is set it is said, the same again too), speech (model for speech recognition: hub id or
  folder; empty: nobody listens), microphone ("default": ALSA device, or an audio file), loudness (-35.0, dB of full
  scale: what is louder begins an utterance)

Typed: each line of the terminal.  Spoken: "stop" alone stops the policy; what gives no words is dropped.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from queue import Empty, Queue
from typing import TYPE_CHECKING

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_agent.errors import NodeError
from vla_agent.ros.process.node_base import LATCHED, Node, Reporter, run
from vla_agent.ros.runtime.instructions import refusal

if TYPE_CHECKING:
    import numpy as np

    from vla_agent.ros.runtime.speech import Recogniser, Utterances

WAITING = 4  # utterances that wait to be recognised, at most


class InstructionNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("instruction_node")
        self._publisher = self.create_publisher(String, "instruction", LATCHED)
        self._reporter = Reporter(self)
        text = str(self.declare_parameter("text", "").value).strip()
        if wrong := refusal(text):
            raise NodeError(wrong, key="text", remedy="give a shorter text of one line")
        speech = str(self.declare_parameter("speech", "").value)
        microphone = str(self.declare_parameter("microphone", "default").value)
        loudness = float(self.declare_parameter("loudness", -35.0).value)
        self._instruction = ""
        self._heard = self._dropped = 0
        self._problem = ""  # with the microphone
        self._utterances: Utterances | None = None
        self._queue: Queue[np.ndarray] = Queue(WAITING)
        if speech:
            self._listen_with(speech, microphone, loudness)
        if text:
            self._say(text)
        self.add_on_set_parameters_callback(self._set)
        self.create_service(Trigger, "instruction/stop", self._stop)
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        threading.Thread(target=self._read, daemon=True).start()

    def _say(self, text: str) -> None:
        self._instruction = text
        self._publisher.publish(String(data=text))

    # -- set and typed -------------------------------------------------------------------------------------------

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "text" and parameter.type_ == Parameter.Type.STRING:  # rclpy refuses another type
                text = parameter.value.strip()
                if wrong := refusal(text):
                    return SetParametersResult(successful=False, reason=wrong)
                self._say(text)
        return SetParametersResult(successful=True)

    def _stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._say("")
        response.success, response.message = True, "no instruction"
        return response

    def _read(self) -> None:
        if sys.stdin.isatty():
            print("type an instruction and Enter; an empty line stops; Ctrl-C ends", flush=True)
        for line in sys.stdin:
            text = line.strip()
            if wrong := refusal(text):
                print(wrong, file=sys.stderr, flush=True)
            else:
                self._say(text)

    # -- spoken --------------------------------------------------------------------------------------------------

    def _listen_with(self, speech: str, microphone: str, loudness: float) -> None:
        from vla_agent.ros.runtime.speech import Cutting, Recogniser, Utterances

        recogniser = Recogniser(speech)
        self._utterances = Utterances(Cutting(start=loudness, stop=loudness - 10))
        threading.Thread(target=self._listen, args=(microphone, self._utterances), daemon=True).start()
        threading.Thread(target=self._recognise, args=(recogniser,), daemon=True).start()

    def _listen(self, microphone: str, utterances: Utterances) -> None:
        from vla_agent.ros.runtime.speech import sounds

        for sound in sounds(microphone):
            self._problem = sound if isinstance(sound, str) else ""
            for utterance in utterances.end() if isinstance(sound, str) else utterances.add(sound):
                self._wait_for_words(utterance)

    def _wait_for_words(self, utterance: np.ndarray) -> None:
        while self._queue.full():  # the oldest makes room: what was said last counts
            with suppress(Empty):
                self._queue.get_nowait()
                self._dropped += 1
        self._queue.put(utterance)

    def _recognise(self, recogniser: Recogniser) -> None:
        from vla_agent.ros.runtime.speech import words

        while True:
            text = words(recogniser(self._queue.get()))
            self._heard += 1
            self.get_logger().info(f'heard: "{text}"')
            if not text or refusal(text):
                self._dropped += 1
            else:
                self._say("" if text == "stop" else text)

    def _report(self) -> None:
        ears = self._utterances
        level, message = "ok", "listening" if ears else "ready"
        if self._problem:
            level, message = "error", f"microphone {self._problem}"
        self._reporter.report(level, message, self._values)

    def _values(self) -> dict[str, object]:
        ears = self._utterances
        values: dict[str, object] = {"instruction": self._instruction}
        if ears is not None:
            dropped = self._dropped + ears.dropped
            values |= {"level dB": f"{ears.level:.0f}", "heard": self._heard, "dropped": dropped}
            values["queue"] = self._queue.qsize()
        return values


def main() -> None:
    """Run the node; see `nodes.start`."""
    run(InstructionNode)
