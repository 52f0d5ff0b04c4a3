"""Checks of ports before anything is started, so that the message can say what is wrong."""

import errno
import socket

import psutil


class PortTaken(RuntimeError):
    """A port that the stack needs is in use, or cannot be had."""


def require_free(host: str, port: int, purpose: str) -> None:
    """Return when nothing listens there.

    Args:
        host: address to bind.
        port: port to bind.
        purpose: what the port is for, shown in the message.

    Raises:
        PortTaken: with the program that holds it, when the system tells.
    """
    problem = _bind_problem(host, port)
    if problem is None:
        return
    if problem.errno != errno.EADDRINUSE:
        raise PortTaken(f"cannot listen on {host}:{port} ({purpose}): {problem.strerror}") from problem
    owner = _owner(port)
    by = f" by {owner}" if owner else ""
    raise PortTaken(
        f"port {port} ({purpose}) is taken{by}. Stop it, or choose another with --port; "
        "the ports after it are used too."
    ) from problem


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    """Whether we could listen there now."""
    return _bind_problem(host, port) is None


def _bind_problem(host: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
        return None


def _owner(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            # laddr is (host, port), or empty for a socket that is not bound
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return ""  # only the owner or root may see; the message does without the name
    return ""
