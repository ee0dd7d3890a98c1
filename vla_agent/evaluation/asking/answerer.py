"""Answers from the things that a policy's sight lists in the front camera's image, in the words of its training.

Confidence: for existence, the calibrated probability of `vla_agent.policy.doubt`; for everything else, the product of
the probabilities of the things that the answer rests on; for a count, the probability of exactly that number.
Questions in other forms go to the backbone's decoder, with the probability of its words: often sure and wrong.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from sim.questions.question_items import NUMBERS, position_words
from sim.tasks.predicates import in_direction
from sim.tasks.scene_layout import CABINET, TRAY
from vla_agent.errors import OptionError
from vla_agent.evaluation.asking.question_forms import Question, parse
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone, stack_images
from vla_agent.models.reader.reader import Reader
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.doubt.things import Thing, best_place, chances, find_things

HEIGHT = 0.03  # metres: of the middle of a thing on the table
ABSENT = 0.999  # probability above which a question about a thing is answered by saying that it is not seen
LONGEST = 24  # tokens of an answer
FIXTURE = 0.09  # metres from a fixture's middle, within which a thing lies in it
SURE = 0.5  # a thing counts in a list
CLEAR = 0.03  # metres from a direction's border: clear enough to be told


@dataclass(frozen=True)
class Answer:
    """What is answered.

    things: that it rests on, to be drawn.  source: "sight", "decoder" for a question in no
    known form, or "reader" for one that is not understood.
    """

    text: str
    confidence: float
    things: tuple[Thing, ...] = ()
    source: str = "sight"

    def to_dict(self) -> dict[str, Any]:
        return {"answer": self.text, "confidence": round(self.confidence, 4), "source": self.source} | {
            "things": [asdict(thing) for thing in self.things]
        }


class Answerer:
    """Answers questions about one observation's images.

    Raises:
        OptionError: the policy has no sight.
    """

    def __init__(self, policy: Any) -> None:
        doubter, backbone = getattr(policy, "doubter", None), getattr(policy, "backbone", None)
        if not isinstance(doubter, Doubter) or not isinstance(backbone, Backbone):
            raise OptionError(
                "this policy cannot answer questions",
                key="POLICY",
                expected="a policy whose training had a stage `sight`",
                found=type(policy).__name__,
                remedy="train one: vla-agent train policies/tabletop-nano.yaml",
            )
        self.doubter, self.backbone, self.contract = doubter, backbone, policy.contract
        self.reader: Reader | None = getattr(policy, "reader", None)

    @torch.inference_mode()
    def look(self, images: dict[str, np.ndarray]) -> None:
        """Take the images of one moment, camera -> (H, W, 3) uint8 in the contract's sizes."""
        self._images = stack_images(images, self.contract.camera_names)
        stem = self.backbone.model.encode_images(self.backbone.pixels(self._images))
        self._maps = self.doubter.sight.look(stem).arrays()
        self._fits = self._maps.pairs()[0].max(0)  # (shapes, colours)
        self.things = [t for t in find_things(self._maps, self.doubter.settings) if t.probability > 0.1]

    def answer(self, question: str) -> Answer:
        """Answer a question about the images of the last `look`, in anyone's words where the policy has a reader."""
        asked = parse(question)
        if asked is None and self.reader is not None:
            reading = self.reader.read(question)
            asked = parse(reading.likely) if reading.kind in self.reader.settings.questions else None
            if asked is not None:  # an answer moves nothing: an unsure reading makes it unsure, and no more
                found = getattr(self, f"_{asked.kind}")(asked)
                return replace(found, confidence=found.confidence * reading.confidence)
            if reading.refusal:
                return Answer(reading.refusal, reading.doubt, (), "reader")
        if asked is None:
            return self._decode(question)
        return getattr(self, f"_{asked.kind}")(asked)

    def position(self, thing: Thing) -> np.ndarray:
        """(3,) metres in the base frame, as if the thing stood on the table."""
        point, height = torch.tensor([thing.point]), torch.tensor([HEIGHT])
        with torch.inference_mode():
            xy = self.backbone.model.on_plane(point, height)[0].numpy()
        return np.array([*xy, HEIGHT])

    def _matching(self, colour: str = "", shape: str = "", least: float = SURE) -> list[Thing]:
        wanted = [t for t in self.things if t.colour == (colour or t.colour) and t.shape == (shape or t.shape)]
        return [t for t in wanted if t.probability > least]

    def _absent(self, colour: str, shape: str) -> float:
        """Calibrated probability that there is no such thing; that of the best pair where colour or shape is open."""
        settings = self.doubter.settings
        rows = [settings.shapes.index(shape)] if shape else range(len(settings.shapes))
        columns = [settings.colours.index(colour)] if colour else range(len(settings.colours))
        return float(settings.absent(self._fits[np.ix_(rows, columns)].max()))

    def _exists(self, asked: Question) -> Answer:
        absent = self._absent(asked.colour, asked.shape)
        things = tuple(self._matching(asked.colour, asked.shape)[:1])
        return Answer("no", absent) if absent > 0.5 else Answer("yes", 1 - absent, things)

    def _count(self, asked: Question) -> Answer:
        numbers = np.array([1.0])
        for chance in chances(self._maps, self.doubter.settings, asked.colour, asked.shape):
            numbers = np.convolve(numbers, [1 - chance, chance])
        number = int(numbers[: len(NUMBERS)].argmax())
        things = sorted(self._matching(asked.colour, asked.shape, 0.0), key=lambda t: -t.there)[:number]
        return Answer(NUMBERS[number], float(numbers[number]), tuple(things))

    def _of_pair(self, pair: tuple[str, str]) -> Thing | None:
        """Where a pair fits best, None where it is more probably absent."""
        if self._absent(*pair) > ABSENT:
            return None
        settings = self.doubter.settings
        return best_place(self._maps, settings, (settings.shapes.index(pair[1]), settings.colours.index(pair[0])))

    def _unseen(self, *pairs: tuple[str, str]) -> Answer:
        """What is asked about is not there."""
        absent = {" ".join(pair): self._absent(*pair) for pair in pairs if self._of_pair(pair) is None}
        name, probability = max(absent.items(), key=lambda item: item[1])
        return Answer(f"i see no {name}", probability)

    def _relation(self, asked: Question) -> Answer:
        things = [self._of_pair(pair) for pair in asked.named]
        seen = [t for t in things if t is not None]
        if len(seen) < len(things):
            return self._unseen(*asked.named)
        offset = self.position(seen[0]) - self.position(seen[1])
        holds = in_direction(float(offset[0]), float(offset[1]), asked.direction)
        return Answer("yes" if holds else "no", _product(seen), tuple(seen))

    def _beside(self, asked: Question) -> Answer:
        thing = self._of_pair(asked.named[0])
        if thing is None:
            return self._unseen(*asked.named)
        origin = self.position(thing)
        found = [t for t in self._matching() if t.name != thing.name and self._lies(t, origin, asked.direction)]
        found.sort(key=lambda t: float(np.linalg.norm(self.position(t) - origin)))
        text = " and ".join(t.name for t in found) or "nothing"
        return Answer(text, _product([thing, *found]), (thing, *found))

    def _lies(self, thing: Thing, origin: np.ndarray, direction: str) -> bool:
        offset = self.position(thing) - origin
        return in_direction(float(offset[0]), float(offset[1]), direction)

    def _attribute(self, asked: Question, attribute: str) -> Answer:
        found = self._matching(asked.colour, asked.shape, 0.1)
        if not found:
            return Answer(f"i see no {asked.colour or asked.shape} thing", self._absent(asked.colour, asked.shape))
        return Answer(str(getattr(found[0], attribute)), found[0].probability, (found[0],))

    def _colour(self, asked: Question) -> Answer:
        return self._attribute(asked, "colour")

    def _shape(self, asked: Question) -> Answer:
        return self._attribute(asked, "shape")

    def _where(self, asked: Question) -> Answer:
        thing = self._of_pair((asked.colour, asked.shape))
        if thing is None:
            return self._unseen((asked.colour, asked.shape))
        return Answer(_place_words(self.position(thing)), thing.probability, (thing,))

    def _list(self, asked: Question) -> Answer:
        on_table = [t for t in self.things if t.there > SURE and t.place == "table"]
        found = sorted(on_table, key=lambda t: float(self.position(t)[1]))
        return Answer(", ".join(t.name for t in found) or "nothing", _product(found), tuple(found))

    def _caption(self, asked: Question) -> Answer:
        """The surest relation: of two things on the table that are surely named, in a direction that is clear."""
        seen = [t for t in self.things if t.there > SURE and t.place == "table"]
        best: tuple[float, Thing, str, Thing] | None = None
        for a in seen:
            for b in seen:
                for direction, clear in self._clearness(a, b):
                    sure = a.probability * b.probability * min(1.0, clear / CLEAR)
                    if a is not b and (best is None or sure > best[0]):
                        best = (sure, a, direction, b)
        if best is None:
            return self._list(asked)
        _, a, direction, b = best
        return Answer(f"a {a.name} is {direction} a {b.name}", _product([a, b]), (a, b))

    def _clearness(self, a: Thing, b: Thing) -> list[tuple[str, float]]:
        """Directions in which a lies of b, with how far the offset is from their borders (metres)."""
        dx, dy, _ = self.position(a) - self.position(b)
        found = {"left of": -dy - abs(dx), "right of": dy - abs(dx), "in front of": dx - abs(dy)}
        return [(name, clear) for name, clear in found.items() if clear > 0]

    @torch.inference_mode()
    def _decode(self, question: str) -> Answer:
        """Greedy words of the backbone's decoder; their joint probability as confidence."""
        model, tokenizer = self.backbone.model, self.backbone.tokenizer
        ids, mask = self.backbone.tokenize([question])
        tokens, summary = model.text(ids, mask)
        stem = model.encode_images(self.backbone.pixels(self._images))
        hidden = model.fuse(stem, tokens, summary, mask).hidden
        words, total = [model.config.bos_token_id], 0.0
        for _ in range(LONGEST):
            chances = model.decode(hidden, torch.tensor([words]))[0, -1].log_softmax(-1)
            words.append(int(chances.argmax()))
            total += float(chances.max())
            if words[-1] == model.config.eos_token_id:
                break
        text = tokenizer.decode(words[1:], skip_special_tokens=True)
        return Answer(text, math.exp(total), source="decoder")


def _place_words(xyz: np.ndarray) -> str:
    """Where a thing is: by the fixtures' places in the simulator, else by side and depth."""
    if np.linalg.norm(xyz[:2] - TRAY) < FIXTURE:
        return "in the tray"
    if xyz[1] < CABINET[1] + FIXTURE:
        return "in the drawer"
    return position_words(xyz)


def _product(things: list[Thing]) -> float:
    return float(np.prod([t.probability for t in things])) if things else 0.0
