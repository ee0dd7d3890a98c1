"""Pretrained vision-language models as backbones: small random ones of each family, through the real loading path."""

import numpy as np
import pytest
import torch

from benchmarks.policy.policy_families import STEPS, walk
from benchmarks.shared.random_vlms import IMAGE_TOKEN, SMALL, save_small_dinov2, save_small_vlm
from vla_agent.errors import CheckpointError
from vla_agent.files.policy_files import read_policy_files
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
from vla_agent.models.backbones.pretrained.pretrained_files import load_vlm, open_vlm, save_vlm

TEXTS = ["put the red mug in the tray", "open the drawer"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with a small model of a family, made once."""
    folder = tmp_path_factory.mktemp("vlms")

    def get(family):
        return folder / family if (folder / family).exists() else save_small_vlm(family, folder / family)

    return get


def images_of_views(batch=1, views=2, height=64, width=64, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (batch, views, height, width, 3), dtype=np.uint8))


@torch.no_grad()
def hidden(backbone, images, texts):
    return backbone.eval().features(images, backbone.encode_text(texts))


@pytest.mark.parametrize("family", SMALL)
def test_a_family_loads_trains_saves_reloads_and_serves(family, source, tmp_path):
    assert walk(source(family), tmp_path / "policy") == dict.fromkeys(STEPS, "yes")


def whole_model(backbone, images, text):
    """Hidden tokens of the family's own forward from ids, pixels and placeholders for the images."""
    model, f = backbone.model, backbone.family
    name, views = model.config.model_type, images.shape[1]
    pixels = backbone.pixels(images[0])
    pixels = (pixels - backbone.mean) / backbone.std
    count = backbone.image_tokens(backbone.pixels(images[0])).tokens.shape[1]
    image = f.start + IMAGE_TOKEN.get(name, "<image>") * count + f.end
    ids = torch.tensor([backbone._ids(f.before + image * views + f.lead + text + f.after)])
    token = backbone._ids(IMAGE_TOKEN.get(name, "<image>"))[0]
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
    if name in ("smolvlm", "idefics3"):
        given["pixel_values"] = pixels[None]
    if name.startswith("qwen"):
        processor, config = backbone.image_processor, model.config.vision_config
        sizes = config.patch_size, config.spatial_merge_size, config.temporal_patch_size
        flat = [processor.patchify(p.numpy(), *sizes) for p in pixels]
        given["pixel_values"] = torch.from_numpy(np.concatenate([patches for patches, _, _ in flat]))
        given["image_grid_thw"] = torch.tensor([[1, h, w] for _, h, w in flat])
        given["mm_token_type_ids"] = (ids == token).int()
    if name == "paligemma":
        given["token_type_ids"] = torch.zeros_like(ids)
    if name == "gemma3":
        given["token_type_ids"] = (ids == token).long()
    if name == "llava_onevision":
        sides = torch.tensor([backbone.size] * views)
        given |= {"image_sizes": sides, "batch_num_images": torch.tensor([views])}
    return model(**given).last_hidden_state


@pytest.mark.parametrize("family", SMALL)
def test_hidden_tokens_are_those_of_the_familys_own_forward(family, source):
    backbone = open_vlm(source(family), VLMOptions()).eval()
    images = images_of_views(height=48, width=80)
    with torch.no_grad():
        theirs = whole_model(backbone, images, TEXTS[0])
    torch.testing.assert_close(hidden(backbone, images, TEXTS[:1])["hidden"], theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("instruction", ["last", "first"])
def test_padding_changes_nothing(family, instruction, source):
    backbone = open_vlm(source(family), VLMOptions(layer=1, instruction=instruction))
    images = images_of_views(2)
    both = hidden(backbone, images, TEXTS)
    for i, text in enumerate(TEXTS):
        alone = hidden(backbone, images[i : i + 1], [text])
        torch.testing.assert_close(both["hidden"][i][both["mask"][i]], alone["hidden"][0], atol=1e-4, rtol=1e-3)
    assert not both["mask"].all()


@pytest.mark.parametrize("family", ["smolvlm", "qwen3_vl", "gemma3"])
def test_encoding_an_instruction_once_equals_encoding_it_each_time(family, source):
    backbone = open_vlm(source(family), VLMOptions(layer=2, instruction="first")).eval()
    images = images_of_views()
    with torch.no_grad():
        text = backbone.encode_text(TEXTS[:1])
        assert text.cache is not None
        first, second = (backbone.features(images, text)["hidden"] for _ in range(2))
        each_time = backbone.features(images, text.pick(torch.tensor([0])))["hidden"]
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    torch.testing.assert_close(first, each_time, atol=1e-5, rtol=1e-4)


def test_only_the_layers_above_are_dropped(source):
    whole, cut = open_vlm(source("smolvlm"), VLMOptions()), open_vlm(source("smolvlm"), VLMOptions(layer=2))
    assert len(cut.language.layers) == 2 < len(whole.language.layers)
    kept = whole.model.state_dict()
    for name, value in cut.model.state_dict().items():
        torch.testing.assert_close(value, kept[name])
    with torch.no_grad():
        text = whole.encode_text(TEXTS[:1])
        whole.language.layers = whole.language.layers[:2]
        expected = whole.features(images_of_views(), text)["hidden"]
    torch.testing.assert_close(hidden(cut, images_of_views(), TEXTS[:1])["hidden"], expected)


@pytest.mark.parametrize("frozen", ["vision", "projector", "language"])
def test_any_part_is_frozen(frozen, source):
    backbone = open_vlm(source("qwen3_vl"), VLMOptions(freeze=(frozen,)))
    still = {n for n, p in backbone.model.named_parameters() if not p.requires_grad}
    begins = {"vision": "visual.", "projector": "visual.merger", "language": "language_model."}[frozen]
    assert still and all(n.startswith((begins, "visual.deepstack_merger_list")) for n in still)
    assert backbone.learns
    assert not open_vlm(source("qwen3_vl"), VLMOptions(freeze=("vision", "projector", "language"))).learns


def test_cameras_may_differ_in_number_and_size(source):
    backbone = open_vlm(source("internvl"), VLMOptions(layer=1))
    one = hidden(backbone, images_of_views(views=1), TEXTS[:1])["hidden"]
    three = hidden(backbone, images_of_views(views=3, height=40, width=100), TEXTS[:1])["hidden"]
    assert three.shape[1] > one.shape[1]
    mixed = [images_of_views(views=1, height=64)[:, 0], images_of_views(views=1, height=48, width=32, seed=1)[:, 0]]
    assert hidden(backbone, mixed, TEXTS[:1])["hidden"].shape[1] > one.shape[1]


@pytest.mark.parametrize(
    ("family", "size"), [("smolvlm", (48, 48)), ("qwen2_5_vl", (64, 96)), ("internvl", (112, 112))]
)
def test_the_vision_tower_takes_the_size_of_the_recipe(family, size, source):
    own = hidden(open_vlm(source(family), VLMOptions(layer=1)), images_of_views(), TEXTS[:1])["hidden"]
    other = hidden(open_vlm(source(family), VLMOptions(layer=1, image_size=size)), images_of_views(), TEXTS[:1])[
        "hidden"
    ]
    assert own.shape[1] != other.shape[1] and torch.isfinite(other).all()


def test_images_keep_their_aspect_ratio(source):
    backbone = open_vlm(source("smolvlm"), VLMOptions(layer=1))
    padded = backbone.pixels(torch.full((1, 32, 64, 3), 255, dtype=torch.uint8))
    assert padded.shape == (1, 3, 64, 64)
    torch.testing.assert_close(padded[0, 0].mean(dim=1), torch.tensor([0.0] * 16 + [1.0] * 32 + [0.0] * 16))


def test_image_tokens_attend_to_the_instruction_only_with_the_mutual_mask(source):
    images = images_of_views()
    for attention, differ in (("own", False), ("mutual", True)):
        backbone = open_vlm(source("smolvlm"), VLMOptions(attention=attention))
        begin = len(backbone._ids(backbone.family.before + backbone.family.start))
        n = backbone.image_tokens(backbone.pixels(images[0])).tokens.shape[1]
        tokens = [hidden(backbone, images, [text])["hidden"][:, begin : begin + n] for text in TEXTS]
        assert torch.allclose(*tokens, atol=1e-5) != differ


def test_fused_features_start_as_zero_and_travel_with_the_policy(source, tmp_path):
    encoder = save_small_dinov2(tmp_path / "dino")
    plain = open_vlm(source("llava_onevision"), VLMOptions(layer=1))
    fused = open_vlm(source("llava_onevision"), VLMOptions(layer=1, fused=str(encoder)))
    images = images_of_views()
    torch.testing.assert_close(*(hidden(b, images, TEXTS[:1])["hidden"] for b in (plain, fused)))
    torch.nn.init.normal_(fused.fused.project[3].weight)
    changed = hidden(fused, images, TEXTS[:1])["hidden"]
    assert not torch.allclose(changed, hidden(plain, images, TEXTS[:1])["hidden"])
    save_vlm(fused, tmp_path / "saved" / "backbone")
    (tmp_path / "dino").rename(tmp_path / "gone")
    assert torch.equal(hidden(load_vlm(read_policy_files(tmp_path / "saved")), images, TEXTS[:1])["hidden"], changed)


@pytest.mark.parametrize(
    ("family", "options", "key"),
    [
        ("smolvlm", {"layer": 9}, "vlm.layer"),
        ("qwen2_5_vl", {"image_size": (60, 64)}, "vlm.image_size"),
        ("gemma3", {"image_size": (112, 112)}, "vlm.image_size"),
        ("smolvlm", {"image_size": (48, 32)}, "vlm.image_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(family, options, key, source):
    with pytest.raises(CheckpointError, match=key):
        open_vlm(source(family), VLMOptions(**options))


def test_what_is_no_vision_language_model_is_refused(source, tmp_path):
    with pytest.raises(CheckpointError, match=r"vlm\.model"):
        open_vlm(save_small_dinov2(tmp_path / "dino"), VLMOptions())
    with pytest.raises(CheckpointError, match=r"vlm\.model"):
        open_vlm(tmp_path / "nothing", VLMOptions())
