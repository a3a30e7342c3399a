"""Topic queues: which videos of a topic recall may offer, and in what order (III-B1)."""
