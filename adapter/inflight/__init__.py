"""The in-flight store: the port, its two implementations, and one that outlives the other's outages."""
