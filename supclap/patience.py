"""How long the workers of a run wait for each other."""

from __future__ import annotations

from datetime import timedelta

# A worker that hears nothing of another for so long gives up: that one is gone, or hangs. Long
# enough for rank 0 to measure a large test split while the others wait.
TIMEOUT = timedelta(minutes=15)
# By so much PyTorch's own limit is longer, as it does not say who is missing.
MARGIN = timedelta(minutes=1)
