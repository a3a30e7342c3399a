"""Turns a delivered catalogue and log into rows of the input tables; names each refused row."""

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
