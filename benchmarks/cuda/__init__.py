"""`python -m benchmarks cuda`: the update on one NVIDIA GPU, beside a copy of memory and what others offer there."""
