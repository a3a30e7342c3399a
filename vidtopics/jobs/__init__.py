"""What a job is, how jobs are run in order, and how a run ends in a release."""
