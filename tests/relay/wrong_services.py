"""Policies that are wrong in what they say of services, with the sentence that each is told in."""

from __future__ import annotations

from typing import Final

LONG: Final = "x" * 101
SERVICES: Final = [
    (
        'services = ["a"]\n',
        "line 1, services",
        "an array is no table; write services = [...] below [default] or [events.NAME], "
        "or [services.NAME] for one service",
    ),
    (
        "[[services]]\nwithin = 1\n",
        "line 1, services",
        "an array is no table; write services = [...] below [default] or [events.NAME], "
        "or [services.NAME] for one service",
    ),
    (
        "[services]\nfraud = 0.3\n",
        "line 2, services.fraud",
        "0.3 is no table; write [services.fraud], and its keys below it",
    ),
    (
        "[services.fraud]\ndeadline = 0.3\n",
        "line 2, services.fraud.deadline",
        "is not known here; did you mean within?",
    ),
    (
        "[services.fraud]\nwihtin = 0.3\n",
        "line 2, services.fraud.wihtin",
        "is not known here; did you mean within?",
    ),
    (
        '[services.fraud]\nmode = "all"\n',
        "line 2, services.fraud.mode",
        "is not known here; write it below [default] or [events.NAME]",
    ),
    (
        "[events.a]\nwithin = 0.3\n",
        "line 2, events.a.within",
        "is not known here; write it below [services.NAME]",
    ),
    (
        '[events.a]\naccept = ["allow"]\n',
        "line 2, events.a.accept",
        "is not known here; known are deadline, max_deadline, fallback, fallback_on, "
        "services, mode, quorum, observers, shadows, retry, backup, cache, emergency, format",
    ),
    (
        "[services.fraud]\nfallback = {}\n",
        "line 2, services.fraud.fallback",
        "is not known here; write it below [default] or [events.NAME]",
    ),
    (
        '[services."fraud check"]\n',
        'line 1, services."fraud check"',
        '"fraud check" is no name of a service, which has letters, digits, _ and - '
        'alone; write "fraud_check", and let the service start so',
    ),
    (
        f"[services.{LONG}]\n",
        f"line 1, services.{LONG}",
        "has a name of 101 letters, and a service's has 100 at most; shorten it, here "
        "and where the service starts",
    ),
    (
        '[services.""]\n',
        'line 1, services.""',
        '"" is no name of a service; write [services.least_cost], for example',
    ),
    (
        "[services.fraud]\nwithin = 300\n",
        "line 2, services.fraud.within",
        "300 is not within 0.01 to 120 seconds; write within = 0.3 for 300 ms",
    ),
    (
        '[services.fraud]\nwithin = "0.3"\n',
        "line 2, services.fraud.within",
        '"0.3" is no number of seconds; write within = 0.3, for example',
    ),
    (
        "[services.fraud]\nwithin = 0\n",
        "line 2, services.fraud.within",
        "0 is not within 0.01 to 120 seconds; write within = 0.3, for example",
    ),
    (
        "[services.fraud]\noptional = 1\n",
        "line 2, services.fraud.optional",
        "1 is neither true nor false; write optional = true, or leave it out",
    ),
    (
        '[services.fraud]\nformat = "xml"\n',
        "line 2, services.fraud.format",
        '"xml" is neither msgpack nor json; write format = "json", or leave it out',
    ),
    (
        "[services.fraud]\nfields = []\n",
        "line 2, services.fraud.fields",
        'is empty: it would get nothing of the data; write fields = ["user"], for example',
    ),
    (
        '[services.fraud]\nfields = "user"\n',
        "line 2, services.fraud.fields",
        '"user" is no list; write fields = ["user"], for example',
    ),
    (
        '[services.fraud]\nfields = ["user", 1]\n',
        "line 2, services.fraud.fields",
        '1 is no text; write fields = ["user"], for example',
    ),
    (
        '[services.fraud]\nfields = ["user", "user"]\n',
        "line 2, services.fraud.fields",
        '"user" is there twice; leave one of them out',
    ),
    (
        "[services.fraud]\naccepts = []\n",
        "line 2, services.fraud.accepts",
        'is empty: each of its decisions would count as failed; write accepts = ["allow"], for example',
    ),
    (
        '[services.fraud]\naccepts = "allow"\n',
        "line 2, services.fraud.accepts",
        '"allow" is no list; write accepts = ["allow"], for example',
    ),
    (
        '[services.fraud]\naccepts = [""]\n',
        "line 2, services.fraud.accepts",
        '"" is no text; write accepts = ["allow"], for example',
    ),
    (
        "[services.fraud]\nbreaker = 5\n",
        "line 2, services.fraud.breaker",
        "5 is no table; write breaker = { after = 5, pause = 5.0 }, for example",
    ),
    (
        "[services.fraud]\nbreaker = { after = 0 }\n",
        "line 2, services.fraud.breaker.after",
        "0 is no whole number of at least 1; write after = 5, for example",
    ),
    (
        "[services.fraud]\nbreaker = { after = 2, pause = 0 }\n",
        "line 2, services.fraud.breaker.pause",
        "0 is not within 0.01 to 3600 seconds; write pause = 5.0, for example",
    ),
    (
        "[services.fraud]\nbreaker = { after = 2, pause = 10000 }\n",
        "line 2, services.fraud.breaker.pause",
        "10000 is not within 0.01 to 3600 seconds; write pause = 10 for 10000 ms",
    ),
    (
        "[services.fraud.breaker]\n\npauses = 3\n",
        "line 3, services.fraud.breaker.pauses",
        "is not known here; did you mean pause?",
    ),
    (
        "[events.a]\nmax_deadline = 1\n",
        "line 2, events.a.max_deadline",
        "max_deadline, 1 s, is below the deadline, 2 s: a service could only lose time; "
        "write max_deadline = 2 or more beside that deadline",
    ),
    (
        "[events.a]\nmax_deadline = 3000\n",
        "line 2, events.a.max_deadline",
        "3000 is not within 0.01 to 120 seconds; write max_deadline = 3 for 3000 ms",
    ),
    (
        "[default]\nmax_deadline = 3\n\n[events.a]\ndeadline = 5\n",
        "line 5, events.a.deadline",
        "max_deadline, 3 s, is below the deadline, 5 s: a service could only lose time; "
        "write max_deadline = 5 or more beside that deadline",
    ),
    (
        '[events.a]\nmode = "alll"\n',
        "line 2, events.a.mode",
        '"alll" is none of first, all, chain, quorum; write mode = "all"',
    ),
    (
        '[events.a]\nmode = "race"\n',
        "line 2, events.a.mode",
        '"race" is none of first, all, chain, quorum; write one of them in quotes, or leave mode out',
    ),
    (
        "[events.a]\nmode = 1\n",
        "line 2, events.a.mode",
        "1 is none of first, all, chain, quorum; write one of them in quotes, or leave mode out",
    ),
    (
        '[events.a]\nmode = "all"\n',
        "line 2, events.a.mode",
        "all merges the decisions of several, and no services are named; name two or "
        'more, services = ["screening", "fraud"], or leave mode out',
    ),
    (
        '[events.a]\nmode = "chain"\nservices = ["b"]\n',
        "line 2, events.a.mode",
        "chain asks one after the other, and only b is named; name two or more, services "
        '= ["screening", "fraud"], or leave mode out',
    ),
    (
        '[events.a]\nservices = ["b"]\nmode = "quorum"\nquorum = 1\n',
        "line 3, events.a.mode",
        "quorum counts those that decide alike, and only b is named; name two or more, "
        'services = ["screening", "fraud"], or leave mode out',
    ),
    (
        '[default]\nservices = ["b", "c"]\nmode = "all"\n\n[events.a]\nservices = []\n',
        "line 6, events.a.services",
        "all merges the decisions of several, and no services are named; name two or "
        'more, services = ["screening", "fraud"], or leave mode out',
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nmode = "quorum"\n',
        "line 3, events.a.mode",
        "quorum is not given: how many of the 2 services must agree; write quorum = 2, for example",
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nmode = "quorum"\nquorum = 3\n',
        "line 4, events.a.quorum",
        "3 of 2 services can never agree; write quorum = 2 at most, or name more services",
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nmode = "all"\nquorum = 2\n',
        "line 4, events.a.quorum",
        'means nothing in mode all; write mode = "quorum", or leave quorum out',
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nquorum = 2\n',
        "line 3, events.a.quorum",
        'means nothing in mode first; write mode = "quorum", or leave quorum out',
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nmode = "quorum"\nquorum = 0\n',
        "line 4, events.a.quorum",
        "0 is no whole number of at least 1; write quorum = 2, for example",
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nmode = "quorum"\nquorum = "2"\n',
        "line 4, events.a.quorum",
        '"2" is no whole number of at least 1; write quorum = 2, for example',
    ),
    (
        '[events.a]\nservices = ["b", "c", "b"]\n',
        "line 2, events.a.services",
        '"b" is there twice; leave one of them out',
    ),
    (
        '[events.a]\nservices = ["b c"]\n',
        "line 2, events.a.services",
        '"b c" is no name of a service, which has letters, digits, _ and - alone; write '
        '"b_c", and let the service start so',
    ),
    (
        '[events.a]\nbackup = "b"\n',
        "line 2, events.a.backup",
        '"b" is no list of service names; write backup = ["b"]',
    ),
    (
        '[events.a]\nbackup = ["b", 2]\n',
        "line 2, events.a.backup",
        '2 is no name of a service; write names in quotes, such as backup = ["least_cost"]',
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nbackup = ["c"]\n',
        "line 3, events.a.backup",
        '"c" is in events.a.services, too: it has been asked when a backup is; leave it out of one of them',
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nobservers = ["c"]\n',
        "line 3, events.a.observers",
        '"c" is in events.a.services, too: it gets the request anyway; leave it out of one of them',
    ),
    (
        '[events.a]\nservices = ["b", "c"]\nshadows = ["c"]\n',
        "line 3, events.a.shadows",
        '"c" is in events.a.services, too: its reply would be compared with itself; '
        "leave it out of one of them",
    ),
    (
        '[events.a]\nbackup = ["b"]\nobservers = ["b"]\n',
        "line 3, events.a.observers",
        '"b" is in events.a.backup, too: it could get a request twice; leave it out of one of them',
    ),
    (
        '[default]\nobservers = ["cdr"]\n\n[events.a]\nservices = ["cdr"]\n',
        "line 5, events.a.services",
        '"cdr" is in default.observers, too: it gets the request anyway; leave it out of one of them',
    ),
    (
        '[events.a]\nshadows = "b"\n',
        "line 2, events.a.shadows",
        '"b" is no list; write shadows = [{ service = "least_cost_next", share = 0.05 }], for example',
    ),
    (
        "[events.a]\nshadows = [1]\n",
        "line 2, events.a.shadows.0",
        '1 is no table; write { service = "least_cost_next", share = 0.05 }, for example',
    ),
    (
        "[events.a]\nshadows = [{ share = 0.1 }]\n",
        "line 2, events.a.shadows.0",
        'names no service; write { service = "least_cost_next", share = 0.05 }, for example',
    ),
    (
        '[events.a]\nshadows = [{ service = "b", share = 0 }]\n',
        "line 2, events.a.shadows.0.share",
        "0 is no share of the calls: over 0, up to 1; write share = 0.05, for example",
    ),
    (
        '[events.a]\nshadows = [{ service = "b", share = 5 }]\n',
        "line 2, events.a.shadows.0.share",
        "5 is no share of the calls: over 0, up to 1; write share = 0.05, for example",
    ),
    (
        '[events.a]\nshadows = [{ service = "b", percent = 5 }]\n',
        "line 2, events.a.shadows.0.percent",
        "is not known here; did you mean share?",
    ),
    (
        "[events.a]\nshadows = [{ service = 1 }]\n",
        "line 2, events.a.shadows.0.service",
        '1 is no name of a service; write { service = "least_cost_next", share = 0.05 }, for example',
    ),
    (
        '[events.a]\nshadows = ["b", { service = "b" }]\n',
        "line 2, events.a.shadows",
        '"b" is there twice; leave one of them out',
    ),
    (
        '[[events.a.shadows]]\nservice = "b"\n\n[[events.a.shadows]]\nservice = "c"\nshare = 1.5\n',
        "line 6, events.a.shadows.1.share",
        "1.5 is no share of the calls: over 0, up to 1; write share = 0.015, for example",
    ),
    (
        "[events.a]\nretry = true\n",
        "line 2, events.a.retry",
        'true is no table; write retry = { on = ["failed", "untaken"], times = 1 }, for example',
    ),
    (
        "[events.a]\nretry = { on = [] }\n",
        "line 2, events.a.retry.on",
        'is empty: nobody would be asked again; write retry = { on = ["failed", '
        '"untaken"], times = 1 }, for example',
    ),
    (
        '[events.a]\nretry = { on = ["timeout"] }\n',
        "line 2, events.a.retry.on",
        '"timeout" is neither failed nor untaken; write retry = { on = ["failed", '
        '"untaken"], times = 1 }, for example',
    ),
    (
        '[events.a]\nretry = { on = ["fail"] }\n',
        "line 2, events.a.retry.on",
        '"fail" is neither failed nor untaken; did you mean failed?',
    ),
    (
        '[events.a]\nretry = { on = "failed" }\n',
        "line 2, events.a.retry.on",
        '"failed" is no list; write retry = { on = ["failed", "untaken"], times = 1 }, for example',
    ),
    (
        "[events.a]\nretry = { times = 6 }\n",
        "line 2, events.a.retry.times",
        "6 is no whole number from 1 to 5; write times = 1, for example",
    ),
    (
        "[events.a]\nretry = { times = 0 }\n",
        "line 2, events.a.retry.times",
        "0 is no whole number from 1 to 5; write times = 1, for example",
    ),
    (
        "[events.a]\nretry = { attempts = 2 }\n",
        "line 2, events.a.retry.attempts",
        "is not known here; did you mean times?",
    ),
    (
        "[events.a]\ncache = 60\n",
        "line 2, events.a.cache",
        '60 is no table; write cache = { key = ["account"], stale = 60 }, for example',
    ),
    (
        "[events.a]\ncache = {}\n",
        "line 2, events.a.cache",
        "has no key: the keys of the data by which a decision is found again; write "
        'cache = { key = ["account"], stale = 60 }, for example',
    ),
    (
        "[events.a]\ncache = { key = [] }\n",
        "line 2, events.a.cache.key",
        'is empty: all calls would have one decision; write key = ["account"], for example',
    ),
    (
        '[events.a]\ncache = { key = "user" }\n',
        "line 2, events.a.cache.key",
        '"user" is no list; write key = ["account"], for example',
    ),
    (
        "[events.a]\ncache = { key = [1] }\n",
        "line 2, events.a.cache.key",
        '1 is no text; write key = ["account"], for example',
    ),
    (
        '[events.a]\ncache = { key = ["user"], stale = -1 }\n',
        "line 2, events.a.cache.stale",
        "-1 is not within 0 to 86400 seconds; write stale = 60, for example",
    ),
    (
        '[events.a]\ncache = { keys = ["user"] }\n',
        "line 2, events.a.cache.keys",
        "is not known here; did you mean key?",
    ),
    (
        '[events.a]\nservices = ["fraud"]\ndeadline = 0.5\n\n[services.fraud]\nwithin = 0.6\n',
        "line 6, services.fraud.within",
        "0.6 s is longer than any call has that asks it, 0.5 s; write less than 0.5, or "
        "leave it out for all that is left",
    ),
    (
        '[events.a]\nbackups = ["b"]\n',
        "line 2, events.a.backups",
        "is not known here; did you mean backup?",
    ),
    (
        "[events.a]\nshadow = []\n",
        "line 2, events.a.shadow",
        "is not known here; did you mean shadows?",
    ),
    (
        "[events.a]\nobserver = []\n",
        "line 2, events.a.observer",
        "is not known here; did you mean observers?",
    ),
    (
        "[services.a]\nbatch = 0\n",
        "line 2, services.a.batch",
        "0 is no whole number from 1 to 1000; write batch = 64, for example",
    ),
    (
        "[services.a]\nbatch_size = 64\n",
        "line 2, services.a.batch_size",
        "is not known here; did you mean batch?",
    ),
    (
        '[services.a]\nformat = "json"\nbatch = 64\n[events.e]\nservices = ["a"]\n',
        "line 3, services.a.batch",
        "puts requests in one message, which is in msgpack, and its requests are in JSON; "
        'write format = "msgpack" in [services.a], or leave batch out',
    ),
    (
        '[services.a]\nbatch = 64\n[default]\nformat = "json"\n[events.e]\nbackup = ["a"]\n',
        "line 2, services.a.batch",
        "puts requests in one message, which is in msgpack, and its requests are in JSON; "
        'write format = "msgpack" in [services.a], or leave batch out',
    ),
    (
        "[events.a]\nretries = 2\n",
        "line 2, events.a.retries",
        "is not known here; did you mean retry?",
    ),
]
"""Text, where, what and what to do."""
