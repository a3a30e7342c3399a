"""What a ranking model reads of a request, in numpy: one definition for training and serving.

`topics` has topics in codes, `vocabulary` ids in codes, `users` what is known of a user, `numbers`
the columns of numbers. Neither torch, numba nor a table engine is imported, so that the HTTP
service is light (docs/adr/0062).
"""
