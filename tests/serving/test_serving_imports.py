"""The service loads neither Spark nor Feast, nor what trains topics."""

import json
import subprocess
import sys

MODULES = ("server", "app", "live", "models", "recommending", "reading")
ABSENT = {"pyspark", "py4j", "feast", "graphframes", "transformers", "timm", "gensim", "faiss"}


def test_the_service_loads_neither_spark_nor_feast():
    names = ", ".join(f"consumers.serving.{name}" for name in MODULES)
    code = f"import json, sys, {names}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"fastapi", "torch"} <= loaded
    assert not loaded & (ABSENT | {"lightgbm", "implicit", "polars", "spark_jobs", "producers"})
