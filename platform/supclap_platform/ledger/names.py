"""The names of what lies in a storage."""

CELLS = "cells"
EXPERIMENTS = "experiments"
EARLIER = "earlier"
FAILURE = "failure.json"
EARLY = "stopped-early"  # left by a search that has seen enough of the cell
