"""What topics could add at most in a simulated world, beside what a home's learned topics add.

A regression with what is planted in the world bounds what any topic model can give a ranker there
(docs/simulation.md, "What topics can add"). :mod:`.report` is what `evaluate ranking` prints.
"""
