"""The names of what lies in a storage."""

CELLS = "cells"
EXPERIMENTS = "experiments"
EARLIER = "earlier"
FAILURE = "failure.json"
EARLY = "stopped-early"  # left by a search that has seen enough of the cell
SEARCH = "search"  # below the experiment's folder: held by the one driver of a search
RAY_TUNE = "ray-tune"  # there too, while Tune works on it
RAY_TRAIN = "ray-train"  # in a term of a cell, while Ray Train works on it
PREFLIGHT = "preflight-"  # how empty files begin by which nodes are asked for the storage
PROBE = "probe-"  # and those by which a command tries to write there
