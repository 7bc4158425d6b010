"""Backward passes as people write them by hand, in plain NumPy; `benchmarks.notebooks` puts slips into them.

Each module has a `forward` on the arrays of `problem`, a right `backward` on what `forward` kept, and says which of
the arrays are differentiated."""
