"""Policies that are wrong, one of each kind, with the sentence that each is told in (after the file)."""

from __future__ import annotations

from typing import Final

from tests.relay.wrong_services import SERVICES

SYNTAX: Final = [
    ("[default]\ndeadline = all\n", 2, "write text in quotes, and true or false in small letters"),
    ("[default]\ndeadline = 2s\n", 2, "write one key = value in a line, and text in quotes"),
    ("[default\n", 1, "close what [ begins with ]"),
    ("[events.a]\n\n[events.a]\n", 3, "write each table and each key once"),
    ("[default]\ndeadline = 1\ndeadline = 2\n", 3, "write each table and each key once"),
    ('[default]\nfallback = { action = "reject"\n', 2, "write { ... } on one line, without a comma before }"),
    ('[default]\nservices = ["a"\n\n[limits]\nin_flight = 1\n', 4, "close what [ begins with ]"),
    ('[default]\nfallback = { reason = "No }\n', 2, "end the text with its quotes"),
    ("[default]\ndeadline: 2\n", 2, "write key = value"),
    ("[default]\nemergency = True\n", 2, "write text in quotes, and true or false in small letters"),
    ('[default]\nfallback = { uri = "C:\\x" }\n', 2, "write each \\ of a text twice"),
]
"""Text, line, remedy: the rest is tomllib's."""
KEYS: Final = [
    *SERVICES,
    ("[defaults]\n", "line 1, defaults", "is not known here; did you mean default?"),
    (
        "\n[invite_request]\ndeadline = 1\n",
        "line 2, invite_request",
        "is not known here; write [events.invite_request] if it is an event",
    ),
    ("deadline = 2.0\n", "line 1, deadline", "is not known here; write it below [default] or [events.NAME]"),
    ("default = 2.0\n", "line 1, default", "2.0 is no table; write [default], and its keys below it"),
    (
        "limits = []\n",
        "line 1, limits",
        "an array is no table; write [limits] once, in single brackets, and its keys below it",
    ),
    ('events = "a"\n', "line 1, events", '"a" is no table; write [events.NAME], and its keys below it'),
    ("[events]\na = 2.0\n", "line 2, events.a", "2.0 is no table; write [events.a], and its keys below it"),
    (
        "[[events.a]]\ndeadline = 2\n",
        "line 1, events.a",
        "an array is no table; write [events.a] once, in single brackets, and its keys below it",
    ),
    (
        '[events."a.b"]\n\n[events.a_b]\n',
        "line 3, events.a_b",
        "has the routing key a_b.*, as a.b has: services of one get both; rename one of them",
    ),
    (
        "[default]\ndeadline = 1\n\n[events.a]\ndead_line = 2\n",
        "line 5, events.a.dead_line",
        "is not known here; did you mean deadline?",
    ),
    ("[default]\ntimeout = 2\n", "line 2, default.timeout", "is not known here; did you mean deadline?"),
    (
        "[events.a]\nin_flight = 3\n",
        "line 2, events.a.in_flight",
        "is not known here; write it below [limits]",
    ),
    (
        "[limits]\ndeadline = 2\n",
        "line 2, limits.deadline",
        "is not known here; write it below [default] or [events.NAME]",
    ),
    (
        "[events.a]\ncolour = 2\n",
        "line 2, events.a.colour",
        "is not known here; known are deadline, max_deadline, fallback, fallback_on, services, mode, quorum, "
        "observers, shadows, retry, backup, cache, emergency, format",
    ),
    (
        "[limits]\nin_flight = 0\n",
        "line 2, limits.in_flight",
        "0 is no whole number of at least 1; write in_flight = 10000, for example",
    ),
    (
        "[limits]\nin_flight = 1e4\n",
        "line 2, limits.in_flight",
        "10000.0 is no whole number of at least 1; write in_flight = 10000, for example",
    ),
    (
        'limits.emergency = "all"\n',
        "line 1, limits.emergency",
        '"all" is no whole number of at least 0; write emergency = 1000, for example',
    ),
    (
        '[events.a]\ndeadline = "2s"\n',
        "line 2, events.a.deadline",
        '"2s" is no number of seconds; write deadline = 2.0, for example',
    ),
    (
        "[events.a]\ndeadline = 2500\n",
        "line 2, events.a.deadline",
        "2500 is not within 0.01 to 120 seconds; write deadline = 2.5 for 2500 ms",
    ),
    (
        "[events.a]\ndeadline = 0\n",
        "line 2, events.a.deadline",
        "0 is not within 0.01 to 120 seconds; write deadline = 2.0, for example",
    ),
    (
        "[events.a]\ndeadline = nan\n",
        "line 2, events.a.deadline",
        "nan is not within 0.01 to 120 seconds; write deadline = 2.0, for example",
    ),
    (
        "[events.a]\ndeadline = true\n",
        "line 2, events.a.deadline",
        "true is no number of seconds; write deadline = 2.0, for example",
    ),
    (
        'events.a.fallback = "reject"\n',
        "line 1, events.a.fallback",
        '"reject" is no table; write { action = "reject", code = 503 }, for example',
    ),
    (
        "[default]\nfallback = { at = 10:00:00 }\n",
        "line 2, default.fallback",
        "cannot be sent to Kamailio: JSON has no such value; write times in quotes, and no nan or inf",
    ),
    (
        "[default]\nfallback = { q = nan }\n",
        "line 2, default.fallback",
        "cannot be sent to Kamailio: JSON has no such value; write times in quotes, and no nan or inf",
    ),
    (
        '[default]\nfallback = { q = "\\u0000" }\n',
        "line 2, default.fallback",
        "cannot be sent to Kamailio: Kamailio takes no NUL in a string; leave \\u0000 out",
    ),
    (
        "[default]\nfallback = { q = 9223372036854775808 }\n",
        "line 2, default.fallback",
        "cannot be sent to Kamailio: Kamailio takes no integer over 64 bits; write it in quotes",
    ),
    (
        '[default]\nservices = "least_cost"\n',
        "line 2, default.services",
        '"least_cost" is no list of service names; write services = ["least_cost"]',
    ),
    (
        '[default]\nservices = ["least_cost",\n  1]\n',
        "line 2, default.services",
        '1 is no name of a service; write names in quotes, such as services = ["least_cost"]',
    ),
    (
        '[default]\nservices = [""]\n',
        "line 2, default.services",
        '"" is no name of a service; write names in quotes, such as services = ["least_cost"]',
    ),
    (
        '[default]\nemergency = "yes"\n',
        "line 2, default.emergency",
        '"yes" is neither true nor false; write emergency = true, or leave it out',
    ),
    (
        '[default]\nformat = "JSON"\n',
        "line 2, default.format",
        '"JSON" is neither msgpack nor json; write format = "json", or leave it out',
    ),
    (
        '[default]\nformat = "xml"\n',
        "line 2, default.format",
        '"xml" is neither msgpack nor json; write format = "json", or leave it out',
    ),
    (
        '[default]\nfallback_on = "timeout"\n',
        "line 2, default.fallback_on",
        '"timeout" is no table by outcome; write { timeout = { action = "allow" } }, for example',
    ),
    (
        '[default]\nfallback_on = { timeouts = { action = "allow" } }\n',
        "line 2, default.fallback_on.timeouts",
        "is not known here; did you mean timeout?",
    ),
    (
        '[events.a.fallback_on]\ndecided = { action = "allow" }\n',
        "line 2, events.a.fallback_on.decided",
        "is somebody's decision, never a fallback; leave it out",
    ),
    (
        '[events.a.fallback_on]\ntimeout = "allow"\n',
        "line 2, events.a.fallback_on.timeout",
        '"allow" is no table; write { action = "reject", code = 503 }, for example',
    ),
    (
        '[events.a]\nfallback_on = { timeout = { action = "allow" }, failed = { n = nan } }\n',
        "line 2, events.a.fallback_on.failed",
        "cannot be sent to Kamailio: JSON has no such value; write times in quotes, and no nan or inf",
    ),
    (
        "[events.a]\nfallbackon = {}\n",
        "line 2, events.a.fallbackon",
        "is not known here; did you mean fallback_on?",
    ),
]
"""Text, where, what and what to do."""
