"""Training: the loop, its checkpoints and its progress. Needs PyTorch where a module says so."""
