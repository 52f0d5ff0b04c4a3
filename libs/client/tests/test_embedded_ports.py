"""Ports are looked at before anything starts, and the message says who holds one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from runstream.embedded.ports import PortTaken, free_port, is_free, require_free
from runstream.embedded.services import free_stack_port, stack_ports


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_taken_port_names_purpose_and_holder(taken_port: int) -> None:
    with pytest.raises(
        PortTaken, match=rf"port {taken_port} \(ingest\) is taken by .*pid {os.getpid()}.*--port"
    ):
        require_free("127.0.0.1", taken_port, "ingest")


def test_port_that_may_not_be_bound_is_not_called_taken() -> None:
    # 192.0.2.0/24 is kept for documentation (RFC 5737): no machine has such an address.
    with pytest.raises(PortTaken, match=r"cannot listen on 192\.0\.2\.1:5050 \(metadata\)"):
        require_free("192.0.2.1", 5050, "metadata")


def test_free_port_can_be_bound(taken_port: int) -> None:
    port = free_port()
    assert port != taken_port
    assert is_free("127.0.0.1", port)
    require_free("127.0.0.1", port, "metadata")


def test_a_stacks_ports_do_not_meet_and_are_all_free() -> None:
    ports = stack_ports(free_stack_port())
    assert len(set(ports)) == len(ports)
    assert all(is_free("127.0.0.1", port) for port in ports)
