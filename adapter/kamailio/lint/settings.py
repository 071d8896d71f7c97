"""The rules about modules, parameters and routes as such."""

from __future__ import annotations

import ipaddress
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from adapter.kamailio import INCLUDE, includes, read
from adapter.kamailio.configuration import EVENT, number
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import MESSAGE
from adapter.kamailio.tokens import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.configuration import Setting
    from adapter.kamailio.lint.findings import Place
    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.tokens import Token

DEFAULT_MAX_CLIENTS: Final = 8
DEFAULT_BUFFER: Final = 8192
BUFFER_OF_6: Final = 32_768
"""Bytes of pv_buffer_size by default, before Kamailio 6.0 and since."""
LONGEST_ANSWER: Final = 32_768
"""Bytes: a frame to Kamailio is smaller, see the adapter's outcome ``oversized``."""
SLOW_WAIT: Final = 20_000
"""Microseconds of wait_idle from which a caller would notice."""
WORKERS_SINCE: Final = (5, 7)
"""Kamailio since when EVAPI's workers handle what clients send."""
SOUND_READER_SINCE: Final = (6, 1)
"""Kamailio since when no client of EVAPI can end it: 5.6.3, 6.0.1 and 6.1.5 were tried."""
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", "*", ""})
_FUNCTIONS: Final = (
    (re.compile(r"t_(precheck_trans|continue|continue_skip_timer|suspend)$"), "tmx"),
    (re.compile(r"t_(relay|reply|newtran|check_trans|set_fr|reset_fr|on_failure|lookup_request)$"), "tm"),
    (re.compile(r"jansson_\w+$"), "jansson"),
    (re.compile(r"sl_\w+$|send_reply$"), "sl"),
    (re.compile(r"xlog$"), "xlog"),
    (re.compile(r"dlg_\w+$"), "dialog"),
    (re.compile(r"(append|insert|remove)_hf$"), "textops"),
    (re.compile(r"uac_req_send$"), "uac"),
    (re.compile(r"jsonrpc_\w+$"), "jsonrpcs"),
    (re.compile(r"(check_route_exists|route_if_exists)$"), "cfgutils"),
)
_VARIABLES: Final = (
    (re.compile(r"\$\(?T\("), "tmx"),
    (re.compile(r"\$\(?sht\("), "htable"),
    (re.compile(r"\$\(?(var|avp)\("), "pv"),
    (re.compile(r"\$\(?(dlg|dlg_var|dlg_ctx)\("), "dialog"),
    (re.compile(r"\$\(?uac_req\("), "uac"),
    (re.compile(r"\$\(?jsonrpl\("), "jsonrpcs"),
)


def unreadable(script: Script) -> Iterator[Finding]:
    """What the reader could not make sense of."""
    for problem in script.configuration.problems:
        yield finding(
            "unreadable",
            problem,
            problem.text[:1].upper() + problem.text[1:] + ".",
            "Kamailio would not start with it, and what follows it was perhaps not looked at.",
            "",
        )


_INCLUDED: Final = (
    f'include_file "{INCLUDE}"   # before the routes; evapi-adapter kamailio-cfg {INCLUDE} > {INCLUDE}'
)


def duplicate_route(script: Script) -> Iterator[Finding]:
    """A route that stands twice, above all the event routes of the include."""
    seen: dict[tuple[str, str], Place] = {}
    for route in script.configuration.routes:
        first = seen.setdefault((route.kind, route.name), route)
        if first is route or route.kind in ("onsend_route",):
            continue
        mine, other = (first, route) if script.ours(route.file) else (route, first)
        if script.ours(other.file) and route.name.startswith("dialog:"):
            why = "ADAPTER_CALLS takes dialog's event routes for itself: Kamailio does not start with two. "
            why += "Have a consumer do it that gets call_answered and call_ended."
        elif script.ours(other.file) and not route.name.startswith("evapi:"):
            why = (
                "ADAPTER_COMMANDS takes it for itself, see the head of evapi-adapter-commands.cfg: Kamailio "
            )
            why += "does not start with two."
        elif script.ours(other.file):
            why = "evapi-adapter.cfg has this route for itself: it reads the answers there. For frames that "
            why += "operators push, define ADAPTER_COMMANDS before the include and write route[COMMAND]."
        else:
            why = f"It is also in {other.file}, line {other.line}: Kamailio does not start."
        yield finding("duplicate-route", mine, f"{route.title} is there twice.", why, "")


def missing_route(script: Script) -> Iterator[Finding]:
    """A call of a route that nobody wrote; the include's calls are the user's to fulfil."""
    names = {route.name for route in script.configuration.routes if route.kind == "route"}
    for step in script.calls_of("route"):
        name = step.argument(0)
        if not re.fullmatch(r"[\w:-]+", name) or name in names or name == "0":
            continue
        at = _users(script, step)
        why = "Kamailio does not start: it looks for each route that is called by its name."
        what, write = f"There is no route[{name}].", _skeleton(name)
        if name in _of_the_include():
            if not any(script.ours(one.text) for one in script.configuration.includes):
                names |= _of_the_include()  # told once
                what, write = f"{INCLUDE} is not included: route[{name}] is in it.", _INCLUDED
            else:
                write = ""
        yield finding("missing-route", at, what, why, write)
        names.add(name)


@cache
def _of_the_include() -> frozenset[str]:
    """The routes that the include has."""
    texts = map(read, includes())
    return frozenset(name for text in texts for name in re.findall(r"^route\[(\w+)\]", text, re.MULTILINE))


def define_too_late(script: Script) -> Iterator[Finding]:
    """A define of the include's that stands below it."""
    include = next((one for one in script.configuration.includes if script.ours(one.text)), None)
    if include is None:
        return
    mine = [one for one in script.configuration.defined if one.name.startswith("ADAPTER_")]
    for one in mine:
        if script.ours(one.file) or one.order <= include.order or one.name == "ADAPTER_STEP_HEADER":
            continue
        what = f"{one.name} is defined below the include."
        why = "evapi-adapter.cfg was read before it: it has no effect, and a second #!define stops the start."
        value = script.configuration.defines[one.name].text
        write = f"# above the include:\n#!define {one.name} {value}".rstrip()
        yield finding("define-too-late", one, what, why, write)


def _skeleton(name: str) -> str:
    bodies = {
        "RESUME": '\t$var(action) = "";\n\tjansson_get("action", "$var(decision)", "$var(action)");\n'
        '\tif ($var(action) == "allow") { t_relay(); exit; }\n\tt_reply("603", "Declined");',
        "NO_DECISION": '\tt_reply("503", "No Decision");',
        "COMMAND": '\txlog("L_NOTICE", "command: $var(command)\\n");',
    }
    body = bodies.get(name, "\texit;   # what it is to do")
    return f"route[{name}] {{\n{body}\n}}"


def _include(script: Script) -> Place:
    """Where the adapter's include is asked for."""
    found = [one for one in script.configuration.includes if script.ours(one.text)]
    return found[0] if found else Noted("", script.configuration.path, 0)


def evapi_not_loaded(script: Script) -> Iterator[Finding]:
    """Without the module nothing else here matters."""
    if script.configuration.module("evapi") is not None:
        return
    uses: list[Place] = [one for one in script.configuration.settings if one.module == "evapi"]
    uses += [step for step in script.calls if step.name.startswith("evapi_")]
    at = uses[0] if uses else Noted("", script.configuration.path, 0)
    why = "evapi-adapter talks to this module and to nothing else of Kamailio's."
    yield finding("evapi-not-loaded", at, "The module evapi is not loaded.", why, 'loadmodule "evapi.so"')


def missing_module(script: Script) -> Iterator[Finding]:
    """A module whose function or variable is used, above all by the include."""
    loaded = {module.name for module in script.configuration.modules}
    for route in script.configuration.routes:
        for token in route.body:
            for module in (_functions(token) | _values(token)) - loaded:
                loaded.add(module)
                yield finding(
                    "missing-module",
                    _users(script, token),
                    f"The module {module} is not loaded.",
                    f"{_who(script, token)} needs it: Kamailio does not start without.",
                    f'loadmodule "{module}.so"',
                )


def loaded_too_late(script: Script) -> Iterator[Finding]:
    """A parameter or a function above its module's loadmodule; the include brings many."""
    why = "Kamailio does not start: what a module brings is known from its loadmodule on."
    for setting in script.configuration.settings:
        module = script.configuration.module(setting.module) if setting.module else None
        if module is not None and module.order > setting.order:
            what = f"A parameter of {module.name} ({setting.name}) stands above the module's loadmodule."
            write = f'loadmodule "{module.name}.so"   # above this line'
            yield finding("loaded-too-late", _users(script, setting), what, why, write)
    for route in script.configuration.routes:
        for token in route.body:
            for name in _functions(token):
                module = script.configuration.module(name)
                if module is not None and module.order > route.order:
                    what = f"{_who(script, token)} needs the module {name}, which is loaded below."
                    write = f'loadmodule "{name}.so"   # above this line'
                    yield finding("loaded-too-late", _users(script, token), what, why, write)


def _functions(token: Token) -> frozenset[str]:
    """The modules whose function this word is."""
    return _of_function(token.text) if token.kind == "name" else frozenset()


def _values(token: Token) -> frozenset[str]:
    """The modules whose variables stand in this word."""
    return _of_variables(token.text) if token.kind in ("variable", "text") else frozenset()


@lru_cache(maxsize=10_000)
def _of_function(word: str) -> frozenset[str]:
    return frozenset(module for pattern, module in _FUNCTIONS if pattern.match(word))


@lru_cache(maxsize=10_000)
def _of_variables(word: str) -> frozenset[str]:
    return frozenset(module for pattern, module in _VARIABLES if pattern.search(word))


def _users(script: Script, at: Place) -> Place:
    """The user's line: what stands in the include is the fault of where it is included."""
    return _include(script) if script.ours(at.file) else at


def _who(script: Script, token: Token) -> str:
    return "evapi-adapter.cfg" if script.ours(token.file) else token.text.split("(")[0][:60]


def address(script: Script) -> Iterator[Finding]:
    """Where EVAPI listens: ``default-address``, ``public-address``."""
    module = script.configuration.module("evapi")
    if module is None:
        return
    setting = script.configuration.setting("evapi", "bind_addr")
    write = 'modparam("evapi", "bind_addr", "127.0.0.1:8448")   # or this machine\'s private address'
    if setting is None:
        what = "EVAPI's address is not set: it is 127.0.0.1:8448."
        why = "Only an adapter on this machine reaches it, and a reader cannot see who may decide calls."
        yield finding("default-address", module, what, why, write)
        return
    host = setting.value.rpartition(":")[0] if ":" in setting.value else setting.value
    host = host.strip("[]")
    why = "EVAPI asks for no password: whoever connects reads every call and decides it."
    if script.version is None or script.version < SOUND_READER_SINCE:
        which = "Kamailio before 6.1" if script.version is None else f"Kamailio {_version(script)}"
        why += f" {which} can also be ended by a few bytes."
    if host in _WILDCARDS:
        what = f"EVAPI listens on every address of this machine ({setting.value})."
        yield finding("public-address", setting, what, why, write)
        return
    try:
        public = ipaddress.ip_address(host).is_global
    except ValueError:
        return  # a host name: what it means is known to the machine alone
    if public:
        yield finding("public-address", setting, f"EVAPI listens on a public address ({host}).", why, write)


def workers(script: Script) -> Iterator[Finding]:
    """Workers that poll: ``slow-workers``, ``many-workers``. They do nothing before Kamailio 5.7."""
    module = script.configuration.module("evapi")
    if module is None or (script.version is not None and script.version < WORKERS_SINCE):
        return
    setting = script.configuration.setting("evapi", "workers")
    count = 1 if setting is None else setting.number
    if not count or count < 0:
        return
    at: Place = setting or module
    since = "From Kamailio 5.7 on" if script.version is None else f"In Kamailio {_version(script)}"
    wait = script.configuration.setting("evapi", "wait_idle")
    micros = 500_000 if wait is None else wait.number
    if micros is not None and micros > SLOW_WAIT:
        yield finding(
            "slow-workers",
            wait or at,
            f"EVAPI's workers look for answers each {micros / 1e6:g} s.",
            f"{since} workers poll: each answer waits for that, half of it on average, and the caller hears "
            "nothing. When an adapter ends, answers that still wait are lost: EVAPI forgets them with the "
            "connection. Without workers they are handled as they are read.",
            'modparam("evapi", "workers", 0)',
        )
    if count > 1:
        yield finding(
            "many-workers",
            at,
            f"EVAPI has {count} workers.",
            f"{since} they handle frames at the same time: a receipt may overtake the answer before it, so "
            "the include gives none once it notices, and answers are written slowly.",
            'modparam("evapi", "workers", 0)',
        )


def _version(script: Script) -> str:
    return ".".join(map(str, script.version or ()))


def clients(script: Script) -> Iterator[Finding]:
    """Places for connections: ``few-clients``, ``links-beyond-gate``."""
    module = script.configuration.module("evapi")
    if module is None:
        return
    setting = script.configuration.setting("evapi", "max_clients")
    count = DEFAULT_MAX_CLIENTS if setting is None else setting.number
    if count is None:
        return
    at: Place = setting or module
    if setting is not None and script.ours(setting.file):
        at = script.configuration.defines.get("ADAPTER_MAX_LINKS", at)
    wanted = max(DEFAULT_MAX_CLIENTS, script.replicas + 2)
    write = f'modparam("evapi", "max_clients", {wanted})'
    if script.included:
        write = f"# above the include:\n#!define ADAPTER_MAX_LINKS {wanted}"
    if count <= script.replicas:
        bad = count < script.replicas
        yield finding(
            "few-clients",
            at,
            f"EVAPI takes {count} connections, and there are {script.replicas} replicas of the adapter.",
            "One connection more is closed at once"
            + (": a replica stays outside." if bad else ": none is left for a replica that restarts."),
            write,
            "error" if bad else "warning",
        )
    links = script.configuration.defines.get("ADAPTER_MAX_LINKS")
    if (
        script.included
        and setting is not None
        and links is not None
        and count > (number(links.text) or count)
    ):
        what = f"max_clients is {count}, but the health gate looks at the first {links.text} links only."
        why = "It closes while a link beyond them is ready, and calls get no decision."
        yield finding(
            "links-beyond-gate", at, what, why, f"# above the include:\n#!define ADAPTER_MAX_LINKS {count}"
        )


def netstring_off(script: Script) -> Iterator[Finding]:
    """Frames without their lengths."""
    setting = script.configuration.setting("evapi", "netstring_format")
    if setting is not None and setting.number == 0:
        what = "EVAPI's netstring format is off."
        why = "The adapter and Kamailio then disagree about where a frame ends: it drops the link at once."
        yield finding("netstring-off", setting, what, why, 'modparam("evapi", "netstring_format", 1)')


def small_buffer(script: Script) -> Iterator[Finding]:
    """Answers that do not fit into a quoted variable."""
    route = script.route(EVENT, MESSAGE)
    if route is None:
        return
    setting: Setting | None = script.configuration.setting("", "pv_buffer_size")
    default = DEFAULT_BUFFER if script.version is None or script.version < (6, 0) else BUFFER_OF_6
    size = default if setting is None else setting.number
    if size is not None and size < LONGEST_ANSWER:
        since = " (before Kamailio 6.0)" if setting is None and script.version is None else ""
        what = f"pv_buffer_size is {size} bytes{since}, and an answer has up to 32 KB."
        why = 'A longer one is lost where "$evapi(msg)" stands in quotes, and the call waits for the timer.'
        yield finding("small-buffer", setting or route, what, why, "pv_buffer_size=36000")


RULES: Final = (
    unreadable, duplicate_route, missing_route, define_too_late, evapi_not_loaded, missing_module,
    loaded_too_late, address, workers, clients, netstring_off, small_buffer,
)  # fmt: skip
