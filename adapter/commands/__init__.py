"""The other direction: commands that consumers and operators send to Kamailio, each with one outcome."""
