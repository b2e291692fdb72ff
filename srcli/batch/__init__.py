"""Many files: planning of outputs, running, and jobs that can be resumed."""
