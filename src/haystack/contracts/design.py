"""Findings on the design behind an answer, and verdicts on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from haystack.contracts.base import Contract

Confidence = Literal["high", "medium", "low", "not scored"]
Cap = Literal["high", "medium", "low"]


class Verdict(StrEnum):
    """Verdict of the known response to the perturbation on the prediction."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    CANNOT_TELL = "cannot tell"


class Finding(Contract):
    """One property of the measured cells or of the prediction that affects confidence."""

    name: str = Field(description="for programs: donors, control_donors, composition, stress, ...")
    value: float | None = Field(description="its number; null where nothing could be counted")
    sentence: str = Field(description="for people, with the number")
    cap: Cap = Field(description="the highest confidence class that it allows")
