"""The service loads neither torch, Spark nor Feast, nor what trains models."""

import json
import subprocess
import sys

MODULES = ("server", "app", "live", "models", "recommending", "reading")
ABSENT = {
    "torch",
    "numba",
    "duckdb",
    "scipy",
    "safetensors",
    "pyspark",
    "py4j",
    "feast",
    "graphframes",
    "transformers",
    "timm",
    "gensim",
    "faiss",
}


def test_the_service_loads_nothing_that_trains():
    names = ", ".join(f"consumers.serving.{name}" for name in MODULES)
    code = f"import json, sys, {names}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"fastapi", "onnxruntime", "deltalake"} <= loaded
    assert not loaded & (
        ABSENT | {"lightgbm", "implicit", "polars", "onnx", "sklearn", "spark_jobs", "producers"}
    )
