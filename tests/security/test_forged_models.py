"""A stored ranking model is the files that were stored; a graph reads no file beside its own."""

import json
from hashlib import sha256

import numpy as np
import pytest
from onnx import TensorProto, helper

from consumers.ranking import serve, store
from vidtopics.errors import TableError

DATA = b"weights"
NAME = sha256(DATA).hexdigest()[:16]
READERS = [serve.Ranker.load, store.restore]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"weights": f"{NAME}.safetensors", "graph": "0000.onnx"}, r"0000\.onnx with bytes of SHA"),
        ({"weights": "0000.safetensors", "graph": ""}, r"0000\.safetensors with bytes of SHA"),
        ({"weights": f"../{NAME}.safetensors", "graph": ""}, "a file in another folder"),
        ({"weights": "/etc/passwd", "graph": ""}, "a file in another folder"),
        ({"weights": f"{NAME}.safetensors", "graph": f"{NAME}.onnx"}, "No such file"),
        ({"weights": [], "graph": ""}, "TypeError"),
        ({}, "KeyError"),
    ],
)
def test_files_that_are_not_those_that_were_stored_are_refused(read, facts, found, tmp_path):
    folder = tmp_path / "ranking"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(facts))
    for path in (tmp_path / f"{NAME}.safetensors", folder / f"{NAME}.safetensors"):
        path.write_bytes(DATA)
    for name in ("0000.onnx", "0000.safetensors"):
        (folder / name).write_bytes(b"others")
    with pytest.raises(TableError, match=found):
        read(folder)


@pytest.mark.parametrize("place", ["../secret.bin", "{folder}/secret.bin"])
def test_a_graph_reads_nothing_outside_its_folder(place, tmp_path):
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = {"location": place.format(folder=tmp_path), "offset": "0", "length": "16"}
    for key, value in places.items():
        tensor.external_data.add(key=key, value=value)
    output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [4])
    node = helper.make_node("Identity", ["w"], ["scores"])
    graph = helper.make_graph([node], "g", [], [output], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match="External data path"):
        serve._session(path)
