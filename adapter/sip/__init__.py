"""One SIP call over UDP, and the gateway that answers it: for newcomers and for tests by hand."""
