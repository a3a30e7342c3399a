"""`python -m vidtopics`: the command, where only the interpreter's path is known."""

from vidtopics.cli import main

main()
