"""Rows: a program on an example, scored, with what it cost and whose fault it was."""
