"""What reads the platform's tables and stores: recall, ranking, training frames. No Spark, no Feast."""
