"""Every bundled rule: what it moves, beside the ceiling of its loads and stores, and beside torch's own."""
