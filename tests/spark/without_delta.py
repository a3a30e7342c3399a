"""A JVM that someone else started, without Delta; test_session.py runs it in a process."""

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway

from vidtopics.errors import MachineError
from vidtopics.jobs.session import session

if __name__ == "__main__":
    SparkContext._ensure_initialized(
        gateway=launch_gateway(SparkConf(loadDefaults=False).set("spark.master", "local[1]"))
    )
    try:
        session("a job")
    except MachineError as error:
        print(error)
