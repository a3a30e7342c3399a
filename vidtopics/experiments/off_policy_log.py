"""Off-policy estimates of a file: what `vidtopics evaluate off-policy` shows."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidtopics.errors import InputError, explain
from vidtopics.experiments.off_policy import PolicyLog, effective_size, estimate_policy
from vidtopics.experiments.reading import READERS, connect, load_table, read_header

REQUIRED = ("reward", "propensity", "target_probability")
MODEL = ("predicted", "expected")


def evaluate_file(path: Path) -> dict[str, Any]:
    """Estimates of the new policy beside the mean reward of the logged one.

    Raises:
        InputError: the file can't be read, or says too little of the new policy.
    """
    log, unit = read_policy_log(path)
    weights = log.target / np.where(log.propensity > 0, log.propensity, np.nan)
    values = estimate_policy(log)
    as_logged = replace(log, target=log.propensity, predicted=None, expected=None)
    return {
        "rows": len(log.reward),
        "clusters": int(log.cluster.max()) + 1,
        "unit": unit,
        "effective_size": effective_size(weights),
        "largest_weight": float(weights.max()),
        "values": {
            "logged policy": asdict(estimate_policy(as_logged)["IPS"]),
            **{name: asdict(value) for name, value in values.items()},
        },
    }


def read_policy_log(path: Path) -> tuple[PolicyLog, str]:
    """The log of a file, and what its clusters are: `users`, or `rows` without a user_id.

    Clicks are the reward where a file has `clicked` and no `reward`, as a delivery's log.

    Raises:
        InputError: it can't be read, has no rows, or one of the model's two columns.
    """
    if path.suffix.lower() not in READERS or not path.is_file():
        expected = f"a file that ends in {', '.join(READERS)}"
        state = "another format" if path.is_file() else "no file"
        raise InputError(explain(str(path), expected=expected, found=state, mend="correct it"))
    with connect() as connection:
        header = read_header(connection, path)
        model = [name for name in MODEL if name in header]
        if len(model) == 1:
            found = f"{model[0]!r} alone"
            mend = "add the other, or remove it"
            raise InputError(
                explain(str(path), expected=" and ".join(MODEL), found=found, mend=mend)
            )
        kinds = dict.fromkeys((*REQUIRED, *model), "number")
        has_users = "user_id" in header
        if has_users:
            kinds["user_id"] = "text"
        is_click_log = "reward" not in header and "clicked" in header
        columns_of = {"reward": "clicked"} if is_click_log else {}
        load_table(connection, "log", path, kinds, columns_of)
        cluster = "dense_rank() OVER (ORDER BY user_id)" if has_users else "row_number() OVER ()"
        rows: Any = connection.execute(f"SELECT *, {cluster} - 1 AS cluster FROM log")
        columns = {name: array for name, array in rows.fetchnumpy().items() if name != "user_id"}
    if len(columns["reward"]) < 2:
        raise InputError(
            explain(str(path), expected="two rows or more", found="fewer", mend="log more")
        )
    values = {name: np.asarray(array, float) for name, array in columns.items()}
    log = PolicyLog(
        reward=values["reward"],
        propensity=values["propensity"],
        target=values["target_probability"],
        cluster=values["cluster"].astype(np.int64),
        predicted=values.get("predicted"),
        expected=values.get("expected"),
    )
    return log, "users" if has_users else "rows"
