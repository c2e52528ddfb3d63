"""What a model can do: retrieval and zero-shot classification."""

from supclap.evaluation.retrieval import (
    MultilingualResult,
    RetrievalResult,
    mean_rank_variance,
    retrieval,
    retrieval_by_language,
)
from supclap.evaluation.zero_shot import TEMPLATES, ZeroShotResult, class_embeddings, zero_shot

__all__ = [
    "TEMPLATES",
    "MultilingualResult",
    "RetrievalResult",
    "ZeroShotResult",
    "class_embeddings",
    "mean_rank_variance",
    "retrieval",
    "retrieval_by_language",
    "zero_shot",
]
