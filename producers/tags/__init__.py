"""Tag graph, walks, skip-gram and pooling (paper, III-A2)."""
