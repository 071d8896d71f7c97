"""The in-flight store: the port and its two implementations."""
