"""The trading kernels: one source, run as plain Python live and compiled by numba in backtests."""
