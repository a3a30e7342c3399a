"""Spark's daemon of Python workers, with what jobs import there: each worker is a fork of it."""

if __name__ == "__main__":
    import pyarrow  # noqa: F401
    import torch  # noqa: F401
    from pyspark.daemon import manager

    import vidtopics.tables.values  # noqa: F401

    manager()
