"""Pure computation on arrays and tensors: no Spark, no Feast, no Redis, no paths."""
