"""AWS on one machine: the stack's real template, state machines and handlers, run without an account."""
