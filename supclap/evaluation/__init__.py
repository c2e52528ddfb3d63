"""What a model can do: retrieval and zero-shot classification."""

from supclap.evaluation.retrieval import (
    MultilingualResult,
    RetrievalResult,
    mean_rank_variance,
    retrieval,
    retrieval_by_language,
)

__all__ = [
    "MultilingualResult",
    "RetrievalResult",
    "mean_rank_variance",
    "retrieval",
    "retrieval_by_language",
]
