"""What a tracking URI of ours means."""

from __future__ import annotations

import pytest
from runstream.mlflow_plugin.addresses import gateway_url, grpc_address, is_ours


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("runstream://host:5000", "http://host:5000"),
        ("runstream://host", "http://host:5000"),
        ("runstream://host:80/team/", "http://host:80/team"),
        ("runstream://[::1]:7000", "http://[::1]:7000"),
        ("https://elsewhere/x", "https://elsewhere/x"),
    ],
)
def test_gateway_of_a_tracking_uri(uri, url):
    assert gateway_url(uri) == url


@pytest.mark.parametrize(
    "uri", ["runstream://", "runstream:///path", "runstream://host?x=1", "runstream://host:port"]
)
def test_uri_without_a_host_is_refused(uri):
    with pytest.raises(ValueError, match=r"runstream://|Port"):
        gateway_url(uri)


def test_listed_address_without_a_host_means_the_gateways():
    assert grpc_address(":5050", "http://gateway:5000") == "gateway:5050"
    assert grpc_address(":5050", "http://[::1]:5000") == "[::1]:5050"
    assert grpc_address("other:1", "http://gateway:5000") == "other:1"


def test_scheme():
    assert is_ours("runstream://x")
    assert not is_ours("http://x")
    assert not is_ours(None)
