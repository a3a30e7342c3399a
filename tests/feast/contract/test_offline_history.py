"""Historical features, on every pair."""

from feast_pairs import by_key, incomes, spine


def test_a_value_holds_from_its_event_time_on(project):
    project.view("incomes", incomes(("a", 1, 1), ("a", 2, 3), ("b", 7, 2)))
    job = project.store.get_historical_features(
        spine(("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 9), ("c", 9)), ["incomes:income"]
    )
    assert by_key(job, "income") == [None, 1, 1, 2, 7, None]
