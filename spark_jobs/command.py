"""The command `vidtopics` under spark-submit: a whole `run`, a training, an inference.

    spark-submit --properties-file conf/spark-defaults.conf --py-files vidtopics.zip
    spark_jobs/command.py run --home s3://bucket/home

Arguments, output and exit status are the command's. Jobs that executors can compute are computed by
them; what the others need runs in the driver.
"""

from __future__ import annotations

from vidtopics.cli import main

if __name__ == "__main__":
    main()
