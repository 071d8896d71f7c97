"""jansson, the JSON parser inside Kamailio, called as its module calls it: the oracle for what we send."""

from __future__ import annotations

import ctypes
from functools import cache

_REJECT_DUPLICATES = 0x1
_ERROR_SIZE = 512  # sizeof(json_error_t) is 256


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libjansson.so.4")  # a dependency of Debian's kamailio-json-modules
    library.json_loads.restype = ctypes.c_void_p
    library.json_loads.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
    return library


def takes(text: bytes) -> bool:
    """Whether Kamailio's jansson_get can read anything from this frame."""
    error = ctypes.create_string_buffer(_ERROR_SIZE)
    # What was parsed is not given back: json_decref is no function of the library.
    return _library().json_loads(text, _REJECT_DUPLICATES, error) is not None
