"""The socket that the service listens on."""

import socket

import pytest

from omnial.errors import UserError
from omnial.serving.app import is_loopback, listen, url
from omnial.serving.service_settings import ServiceSettings


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_first_part() -> None:
    with listen(ServiceSettings(port=0)) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert is_loopback(listening)
        assert url(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_port_that_is_taken_is_named() -> None:
    with listen(ServiceSettings(port=0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}.*--port"):
            listen(ServiceSettings(port=port))
