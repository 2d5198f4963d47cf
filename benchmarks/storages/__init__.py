"""State lighter than float32: bytes, and time beside our own float32, its ceiling, and others."""
