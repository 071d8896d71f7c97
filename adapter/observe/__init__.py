"""What is told of each call: metrics, journal, traces, log."""
