"""What is tried: a row for each way in which a client's own documentation leads to a consumer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["python", "node", "go", "java", "ruby", "php"]


@dataclass(frozen=True)
class Row:
    """One way of one client.

    Args:
        client: its name, as its authors write it.
        package: what has its version: of PyPI, npm or Debian.
        kind: how ``program`` is run.
        program: its file.
        way: the program's argument.
        does: what the consumer does, as its documentation has it.
        todo: what to do so that it decides; empty if it does.
        fixed: the argument with which the program does that. Empty: what is to be done is no matter of code.
        form: the format of requests.
        own_queue: whether the program declares the service's queue itself, and binds it.
    """

    client: str
    package: str
    kind: Kind
    program: str
    way: str
    does: str
    todo: str = ""
    fixed: str = ""
    form: Literal["json", "msgpack"] = "json"
    own_queue: bool = True


_RPC: Final = "RPC tutorial: the reply has its body and the correlation id"
_INTEGERS: Final = "its integers of 64 bits are BigInts: `new Packr({ int64AsType: 'number' })`"
_SEE: Final = "see [Other protocols](#other-protocols)"
_KEPT: Final = f"`/amq/queue/` and the name in `reply_to`, by a sender that is kept; {_SEE}"
_EMPTY: Final = "that is an empty reply, which counts as none: return the decision"
_NUMBERS: Final = "nothing; it writes bytes as JSON numbers, which the adapter undoes: `Buffer.from(...)`"
_REGISTER: Final = (
    'it acknowledges what it cannot decode: `format = "json"` in the policy, or register the content type '
    "(`kombu.serialization.register(..., 'application/msgpack', 'binary')`) and accept it"
)

ROWS: Final = (
    Row("pika", "pika", "python", "pika_rpc.py", "", _RPC),
    Row("aio-pika", "aio-pika", "python", "aio_pika_rpc.py", "", _RPC),
    Row("AMQPStorm", "AMQPStorm", "python", "amqpstorm_rpc.py", "", "example `rpc_server.py`"),
    Row(
        "kombu",
        "kombu",
        "python",
        "kombu_mixin.py",
        "",
        "`ConsumerProducerMixin` with a callback, serializer `json`",
    ),
    Row(
        *("kombu", "kombu", "python", "kombu_mixin.py", "", "the same, requests as msgpack"),
        *(_REGISTER, "registered", "msgpack"),
    ),
    Row(
        *("Celery", "celery", "python", "celery_worker.py", "", "a task of the event's name"),
        "not suited: it takes its own messages alone, and acknowledges all others. Use kombu",
    ),
    Row(
        "FastStream",
        "faststream",
        "python",
        "faststream_app.py",
        "dict",
        "`request: dict`, returns the decision",
    ),
    Row(
        *("FastStream", "faststream", "python", "faststream_app.py", "dict", "the same, requests as msgpack"),
        *('`request: bytes`, or `format = "json"` in the policy', "bytes", "msgpack"),
    ),
    Row(
        *("FastStream", "faststream", "python", "faststream_app.py", "none", "returns None"),
        _EMPTY,
        "dict",
    ),
    Row("amqplib", "amqplib", "node", "amqplib_rpc.js", "", _RPC),
    Row(
        *(
            "msgpackr",
            "msgpackr",
            "node",
            "msgpackr_rpc.js",
            "maps",
            "with amqplib; `request.deadline - Date.now()`",
        ),
        *(_INTEGERS, "number", "msgpack"),
    ),
    Row(
        *(
            "msgpackr",
            "msgpackr",
            "node",
            "msgpackr_rpc.js",
            "plain",
            "with amqplib; `new Packr().pack(decision)`",
        ),
        *("its records are no maps: `useRecords: false`", "number", "msgpack"),
    ),
    Row("rabbitmq-client", "rabbitmq-client", "node", "rabbitmq_client.js", "object", "`reply(decision)`"),
    Row("rabbitmq-client", "rabbitmq-client", "node", "rabbitmq_client.js", "buffer", "`reply(Buffer)`"),
    Row(
        *(
            "rabbitmq-client",
            "rabbitmq-client",
            "node",
            "rabbitmq_client.js",
            "array",
            "`reply(Uint8Array)`, of an encoder",
        ),
        _NUMBERS,
        "buffer",
    ),
    Row(
        *("amqp091-go", "golang-github-rabbitmq-amqp091-go-dev", "go", "amqp091.go", "plain"),
        *(
            "RPC tutorial; the decision is a struct",
            'name its fields: ``Action string `json:"action"` ``',
            "tags",
        ),
    ),
    Row("Java client", "librabbitmq-client-java", "java", "Rpc.java", "", _RPC),
    Row(
        *("bunny", "ruby-bunny", "ruby", "bunny_rpc.rb", "slash", "RPC tutorial"),
        *("a URL without the slash at its end: with it the vhost has no name", "bare"),
    ),
    Row("php-amqplib", "php-amqplib", "php", "php_amqplib_rpc.php", "json", "RPC tutorial, `json_encode`"),
    Row(
        *(
            "php-amqplib",
            "php-amqplib",
            "php",
            "php_amqplib_rpc.php",
            "object",
            "the same, `msgpack_pack` of an object",
        ),
        *("its objects have the name of their class in them: `msgpack_pack((array) $decision)`", "array"),
    ),
    Row(
        *("Qpid Proton", "python-qpid-proton", "python", "proton_server.py", "tutorial"),
        *("AMQP 1.0, tutorial `server.py`: a sender without a target", _KEPT, "kept", "json", False),
    ),
    Row(
        *("rhea", "rhea", "node", "rhea_server.js", "example"),
        *("AMQP 1.0, example `server.js`: a sender without a target", _KEPT, "kept", "json", False),
    ),
    Row(
        *(
            "stomp.py",
            "stomp.py",
            "python",
            "stomp_listener.py",
            "queue",
            "STOMP, `/queue/evapi.decide.NAME`",
        ),
        *(
            f"`/exchange/evapi.events/EVENT.*` with `x-queue-name`; {_SEE}",
            "events",
        ),
        *("json", False),
    ),
)
