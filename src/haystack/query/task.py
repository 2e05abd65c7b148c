"""Determine the task type from the named entities and the wording of the question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from haystack.contracts.query import TaskType


@dataclass(frozen=True)
class Named:
    """Entities that determine the task type."""

    treatment: bool
    target_donor: bool
    reference_donor: bool
    datasets: int
    disease: bool = False


_TRANSFER = re.compile(
    r"\bcross[- ]?data\s?sets?\b|\bacross\s+(?:data\s?sets|atlases|studies|cohorts|platforms|technologies)\b|"
    r"\bas\s+(?:they|it|these|those)?\s*(?:would|might|could)?\s*(?:be|"
    r"have been|appear|look)?\s*(?:seen|measured|sequenced|"
    r"profiled|captured|if)?\s*(?:in|by|from)\s+(?:the\s+)?(?=[A-Z])|\bin\s+the\s+style\s+of\b|"
    r"\b(?:transfer|translate|project|map|port|carry|harmoni[sz]e|move|convert)\w*\b.*\b(?:to|into|onto|between)\b|"
    r"\bfrom\s+(?:the\s+)?(?:one|another|a different)\s+(?:data\s?set|atlas|study|cohort)\b|"
    r"\b(?:another|other|different|second)\s+(?:data\s?set|atlas|study|cohort|platform|technology)\b",
    re.IGNORECASE,
)
_IMPUTE = re.compile(
    r"\bimput\w*|\bmissing\b|\babsent\b|\bfill(?:ing)?\s+in\b|"
    r"\bnot\s+(?:captured|profiled|measured|sampled|present|sequenced|"
    r"observed|collected|available|recovered|detected)\b|\bunmeasured\b|"
    r"\bunobserved\b|\bwithout\s+(?:any\s+)?(?:measured|"
    r"captured)\b|\black(?:s|ing|ed)?\b|\bdropped\s+out\b|\b(?:were|was|is|are|has|have)(?:\s+been)?\s+lost\b|"
    r"\bnever\s+(?:captured|profiled|measured|sampled|sequenced)\b|\bno\s+(?:\w+\s+)?(?:cells\s+)?were\s+(?:captured|"
    r"sampled|recovered|measured)\b|\breconstruct\w*|\binfer\s+the\s+missing\b",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(
    r"\b(?:gene\s+)?expression\b|\btranscriptom\w+|\bexpression\s+profiles?\b|"
    r"\bprofiles?\s+of\b|\btranscriptional\s+profile\b|"
    r"\bexpress(?:es|ed|ing)?\b|\bcounts\s+of\b|\bcell\s+states?\s+of\b",
    re.IGNORECASE,
)
_LOOK = re.compile(r"\b(?:would|will|might|could|do|does)\b.*\blooks?\b|\bwhat\b.*\blooks?\s+like\b", re.IGNORECASE)
_GENERATE = re.compile(r"\b(?:generate|create|synthesi[sz]e|simulate)\b", re.IGNORECASE)
_SAMPLES = re.compile(
    r"\b(?:donors?|patients?|individuals?|subjects?|participants?|volunteers?|"
    r"samples?|cohorts?|healthy\s+controls|people|person|biops(?:y|ies))\b",
    re.IGNORECASE,
)


def task_type(text: str, named: Named) -> tuple[TaskType, float, str]:
    """(task type, confidence, reason).

    Two datasets, or one with words of transfer, make a cross-dataset question, with or without a perturbation. With a
    treatment, cells of named or new donors, patients or samples are new samples; otherwise the cell type is new.
    Without a treatment, words such as impute or missing ask for a cell type; an expression profile of a donor, or a
    reference donor, for that donor.
    """
    transfer = bool(_TRANSFER.search(text))
    if named.datasets > 1 or (transfer and named.datasets):
        return TaskType.CROSS_DATASET_GENERATION, 0.9, "two datasets, or words of transfer"
    if transfer and not named.treatment and not named.target_donor:
        return TaskType.CROSS_DATASET_GENERATION, 0.7, "words of transfer between datasets"
    if named.treatment:
        if named.target_donor or named.reference_donor:
            return TaskType.PERTURBATION_NOVEL_SAMPLES, 0.95, "a treatment, and a donor"
        if _SAMPLES.search(text):
            return TaskType.PERTURBATION_NOVEL_SAMPLES, 0.8, "a treatment, and samples"
        return TaskType.PERTURBATION_NOVEL_CELL_TYPES, 0.95, "a treatment"
    if _IMPUTE.search(text):
        return TaskType.CELL_TYPE_IMPUTATION, 0.95, "words of imputation"
    if named.reference_donor or (named.target_donor and _EXPRESSION.search(text)):
        return TaskType.DONOR_EXPRESSION_PREDICTION, 0.9, "expression of a donor"
    if named.datasets and not named.target_donor:
        return TaskType.CROSS_DATASET_GENERATION, 0.6, "a dataset"
    if _LOOK.search(text):
        return TaskType.CELL_TYPE_IMPUTATION, 0.8, "what a cell type would look like"
    if _GENERATE.search(text) and (named.target_donor or named.disease):
        return TaskType.CELL_TYPE_IMPUTATION, 0.7, "cells to be generated for a donor or a disease"
    if named.target_donor:
        return TaskType.DONOR_EXPRESSION_PREDICTION, 0.7, "a donor"
    if _EXPRESSION.search(text) and _SAMPLES.search(text):
        return TaskType.DONOR_EXPRESSION_PREDICTION, 0.7, "expression of donors"
    return TaskType.CELL_TYPE_IMPUTATION, 0.5, "no treatment is named"
