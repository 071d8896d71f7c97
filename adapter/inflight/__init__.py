"""The in-flight store: the port, in this process, in Redis, and one that is in both."""
