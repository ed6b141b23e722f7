"""Grus beside its peers: every contestant is held against float64, then timed in turn. See docs/performance.md."""
