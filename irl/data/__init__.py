"""Reward-model data in the formats people have it in: `read_records`."""

from irl.data.detect import FORMATS, detect
from irl.data.reading import Reading, Report, Unfit, read_records

__all__ = ["FORMATS", "Reading", "Report", "Unfit", "detect", "read_records"]
