"""The broker in one process, for where there is no RabbitMQ."""

from adapter.broker.embedded.broker import DEAD_LETTER_BYTES as DEAD_LETTER_BYTES
from adapter.broker.embedded.broker import EmbeddedBroker as EmbeddedBroker
from adapter.broker.embedded.cores import Answered as Answered
from adapter.broker.embedded.cores import Core as Core
from adapter.broker.embedded.cores import Delivery as Delivery
