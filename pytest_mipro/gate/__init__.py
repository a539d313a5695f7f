"""Judging a compiled program: pure statistics, pure rules."""
