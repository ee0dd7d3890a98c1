"""The wordings that an exported policy has to take: how long they are, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence

from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.reader.reader_settings import SLOT, ReaderSettings
from vla_agent.policy.policy import VLAPolicy


def longest_wording(policy: VLAPolicy) -> int:
    """Tokens of the longest instruction that reaches the small backbone: with a reader, one of the policy's own."""
    backbone = policy.backbone
    assert isinstance(backbone, Backbone)
    most = int(backbone.model.config.max_text_length)
    if policy.reader is None:
        return most
    texts = _longest_texts(policy.reader.settings, backbone)
    return min(most, max(len(backbone.tokenizer(text)["input_ids"]) for text in texts))


def _longest_texts(settings: ReaderSettings, backbone: Backbone) -> list[str]:
    """The policy's own wordings, each with the longest names in its slots."""

    def longest(names: Sequence[str]) -> str:
        return max(names, key=lambda name: len(backbone.tokenizer(name)["input_ids"]))

    shape, colour = longest((*settings.shapes, "thing")), longest(settings.colours)
    slots = {"thing": f"{colour} {shape}", "colour": colour, "direction": longest(settings.directions)}
    texts = []
    for template in settings.templates:
        for slot, words in slots.items():
            template = template.replace(f"{{{slot}}}", words)
        texts.append(template)
    for canonical in settings.tasks.values():
        texts.append(SLOT.sub(lambda found: slots.get(found[1], f"{colour} {shape}s"), canonical))
    return texts


def encoded(policy: VLAPolicy, instructions: Sequence[str]) -> dict[str, list[int]]:
    """Instruction -> ids, as the policy of a pretrained model reads it."""
    backbone = policy.backbone
    assert isinstance(backbone, VLMBackbone)
    return {text: backbone.encode_text([text]).ids[0].tolist() for text in instructions}
