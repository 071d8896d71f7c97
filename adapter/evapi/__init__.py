"""The way to Kamailio: links, their writer, and the nodes they lead to."""
