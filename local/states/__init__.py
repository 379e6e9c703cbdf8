"""Step Functions on one machine: JSONata state machines, run for real on the virtual clock."""
