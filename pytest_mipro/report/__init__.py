"""What people see: one summary, one renderer per output, each returning text."""
