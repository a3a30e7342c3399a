"""One job per table: read, compute, publish."""
