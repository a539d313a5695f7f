"""MIPROv2: the optimizer, its three phases, and the bounds of a compile."""
