"""What reads the tables and stores: recall, ranking, training frames. No Spark, no Feast."""
