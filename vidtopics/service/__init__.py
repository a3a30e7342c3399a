"""Runs and materialisations in rounds, in one supervised process: `vidtopics daemon`.

`rounds` has the loops and their end, `logs` the lines that they write, `status` what the home and
its Redis hold, `metrics` and `health` what monitoring asks for. docs/operations.md is the
operator's page.
"""
