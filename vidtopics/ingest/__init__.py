"""Turns someone's catalogue and log into staged rows of the input tables, and names every row that it refuses."""

from vidtopics.ingest.delivery import Delivery, FileReport, Tally
from vidtopics.ingest.publishing import Ingested, ingest
from vidtopics.ingest.reasons import REFUSALS, WARNINGS
from vidtopics.ingest.source import Source, recognise
from vidtopics.ingest.staging import stage

__all__ = [
    "REFUSALS",
    "WARNINGS",
    "Delivery",
    "FileReport",
    "Ingested",
    "Source",
    "Tally",
    "ingest",
    "recognise",
    "stage",
]
