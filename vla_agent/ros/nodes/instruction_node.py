"""instruction_node: publishes the typed, set or spoken instruction; an empty one stops the policy.

out: instruction (String, latched), /diagnostics
services: instruction/stop (Trigger: the empty instruction)
parameters: see `ros.process.node_parameters` or `instruction_node --help`; ``text`` is published each time it is set,
  the same text again, too

Typed: each line of the input.  The node ends at the end of its input, once the subscribers have the last instruction;
it runs on where it listens to speech, or where its input is /dev/null.  Spoken: "stop" alone stops the policy; what
gives no words is dropped.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, Queue
from typing import TYPE_CHECKING

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_agent.errors import NodeError
from vla_agent.ros.process.node_base import LATCHED, Node, StatusReporter, declare_parameters, deliver, run
from vla_agent.ros.process.start import STOP
from vla_agent.ros.runtime.instructions import invalid_reason

if TYPE_CHECKING:
    import numpy as np

    from vla_agent.ros.runtime.speech import SpeechRecogniser, UtteranceDetector

MOST_WAITING = 4  # utterances that wait to be recognised
SUBSCRIBERS = 10.0  # seconds to wait for a subscriber at the end of the input


class InstructionNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("instruction_node")
        self._publisher = self.create_publisher(String, "instruction", LATCHED)
        self._reporter = StatusReporter(self)
        values = declare_parameters(self, "instruction_node")
        text = str(values["text"]).strip()
        if wrong := invalid_reason(text):
            raise NodeError(wrong, key="text", remedy="give a shorter text of one line")
        self._instruction: str | None = None  # the last one that was published
        self._heard = self._dropped = 0
        self._problem = ""  # with the microphone
        self._utterances: UtteranceDetector | None = None
        self._queue: Queue[np.ndarray] = Queue(MOST_WAITING)
        if values["speech"]:
            self._start_listening(str(values["speech"]), str(values["microphone"]), float(values["loudness"]))
        if text:
            self._publish(text)
        self.add_on_set_parameters_callback(self._set)
        self.create_service(Trigger, "instruction/stop", self._stop)
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        threading.Thread(target=self._read_input, daemon=True).start()

    def _publish(self, text: str) -> None:
        self._instruction = text
        self._publisher.publish(String(data=text))

    # -- set and typed -------------------------------------------------------------------------------------------

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "text" and parameter.type_ == Parameter.Type.STRING:  # rclpy refuses another type
                text = parameter.value.strip()
                if wrong := invalid_reason(text):
                    return SetParametersResult(successful=False, reason=wrong)
                self._publish(text)
        return SetParametersResult(successful=True)

    def _stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._publish("")
        response.success, response.message = True, "no instruction"
        return response

    def _read_input(self) -> None:
        if sys.stdin.isatty():
            print("type an instruction and Enter; an empty line stops the policy; Ctrl-D or Ctrl-C ends", flush=True)
        for line in sys.stdin:
            text = line.strip()
            if wrong := invalid_reason(text):
                print(wrong, file=sys.stderr, flush=True)
            else:
                self._publish(text)
        if self._utterances is None and not _is_null(sys.stdin.fileno()):
            self._end_after_delivery()

    def _end_after_delivery(self) -> None:
        """End the node when its subscribers have the last instruction, or when there are none."""
        deadline = time.monotonic() + SUBSCRIBERS
        while self._instruction is not None and not self._publisher.get_subscription_count():
            if time.monotonic() > deadline:
                self.get_logger().warning("the input ended, and no node has subscribed to the instruction")
                break
            time.sleep(0.05)
        deliver(self._publisher)
        STOP.set()

    # -- spoken --------------------------------------------------------------------------------------------------

    def _start_listening(self, speech: str, microphone: str, loudness: float) -> None:
        from vla_agent.ros.runtime.speech import SpeechRecogniser, UtteranceDetector, UtteranceSettings

        recogniser = SpeechRecogniser(speech)
        self._utterances = UtteranceDetector(UtteranceSettings(start=loudness, stop=loudness - 10))
        threading.Thread(target=self._listen, args=(microphone, self._utterances), daemon=True).start()
        threading.Thread(target=self._recognise, args=(recogniser,), daemon=True).start()

    def _listen(self, microphone: str, utterances: UtteranceDetector) -> None:
        from vla_agent.ros.runtime.speech import read_audio

        for sound in read_audio(microphone):
            self._problem = sound if isinstance(sound, str) else ""
            for utterance in utterances.end() if isinstance(sound, str) else utterances.add(sound):
                self._enqueue(utterance)

    def _enqueue(self, utterance: np.ndarray) -> None:
        while self._queue.full():  # the oldest is dropped: the newest counts
            with suppress(Empty):
                self._queue.get_nowait()
                self._dropped += 1
        self._queue.put(utterance)

    def _recognise(self, recogniser: SpeechRecogniser) -> None:
        from vla_agent.ros.runtime.speech import clean_transcript

        while True:
            text = clean_transcript(recogniser(self._queue.get()))
            self._heard += 1
            self.get_logger().info(f'heard: "{text}"')
            if not text or invalid_reason(text):
                self._dropped += 1
            else:
                self._publish("" if text == "stop" else text)

    def _report(self) -> None:
        detector = self._utterances
        level, message = "ok", "listening" if detector else "ready"
        if self._problem:
            level, message = "error", f"microphone {self._problem}"
        self._reporter.report(level, message, self._values)

    def _values(self) -> dict[str, object]:
        detector = self._utterances
        values: dict[str, object] = {"instruction": self._instruction or ""}
        if detector is not None:
            dropped = self._dropped + detector.dropped
            values |= {"level dB": f"{detector.level:.0f}", "heard": self._heard, "dropped": dropped}
            values["queue"] = self._queue.qsize()
        return values


def _is_null(descriptor: int) -> bool:
    """Whether a file descriptor is /dev/null: then nobody types, as under a service manager."""
    return os.path.samestat(os.fstat(descriptor), os.stat(os.devnull))


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(InstructionNode)
