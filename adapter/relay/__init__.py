"""The middle: an event becomes a request, a reply becomes a resume. ``trip`` is the way through."""
