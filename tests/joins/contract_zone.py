"""Every engine on tables that Spark wrote.

Run by test_join_contract.py in a process of its own, as zone and JVM are the process's.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import contract_cases
from contract_engines import ENGINES
from contract_worlds import SEED, VIDEOS, create, fill_by_spark, random_world

from vidtopics.jobs.session import session
from vidtopics.tables import Tables


def main(home: Path) -> None:
    tables, world = Tables(home), contract_cases.world()
    engine = session("contract")
    create(tables)
    fill_by_spark(engine, tables, world)
    facts = {
        "offset_hours": datetime.fromtimestamp(0).astimezone().utcoffset().total_seconds() / 3600,
        "writers": [entry.get("engineInfo", "") for entry in tables.delta(VIDEOS).history(1)],
        "answers": answers(tables, world, ENGINES),
    }
    engine.conf.set("spark.sql.session.timeZone", "America/New_York")
    facts["in_new_york"] = answers(tables, world, ["spark"])
    engine.conf.set("spark.sql.session.timeZone", "UTC")
    world = random_world(SEED)
    fill_by_spark(engine, tables, world, files=3)
    facts["of a random world"] = answers(tables, world, ENGINES)
    print(json.dumps(facts))


def answers(tables, world, names):
    return {
        f"{name}, known by: {rule}": ENGINES[name](tables, world, rule)
        for name in names
        for rule in (True, False)
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
