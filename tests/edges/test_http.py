"""The scrape's door: over HTTP, over HTTPS, and each reason for which it does not open."""

from __future__ import annotations

import socket
import ssl
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from enforcer.edges.http import Scrape, Tls
from enforcer.errors import HostError, UsageError


class Pair(NamedTuple):
    """A certificate for 127.0.0.1 that signs itself, and its key."""

    certificate: Path
    key: Path


def pair(directory: Path, name: str) -> Pair:
    """A new pair, made by the openssl command."""
    made = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]
    argv += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*argv, "-out", made.certificate, "-keyout", made.key], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The agent's pair."""
    return pair(tmp_path_factory.mktemp("server"), "server")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A scraper's pair: the authority over itself."""
    return pair(tmp_path_factory.mktemp("client"), "client")


@pytest.fixture
def listen() -> str:
    """An address on loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def scraped(url: str, context: ssl.SSLContext | None = None) -> bytes:
    """What one scrape answers; past any proxy that the environment names."""
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    with urllib.request.build_opener(*handlers).open(f"{url}/metrics", timeout=10) as answer:
        return answer.read()


def trusting(server: Pair, client: Pair | None = None) -> ssl.SSLContext:
    """A client that believes the server's certificate, and shows ``client``'s."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    if client:
        context.load_cert_chain(client.certificate, client.key)
    return context


def tls_of(server: Pair) -> Tls:
    """The options of ``run``."""
    return Tls(str(server.certificate), str(server.key))


def test_plain(listen: str) -> None:
    """Without certificates it is HTTP, and its own process is among the metrics; after close nobody listens."""
    scrape = Scrape(listen)
    try:
        assert b"process_open_fds" in scraped(f"http://{listen}")
    finally:
        scrape.close()
    with pytest.raises(OSError, match="refused"):
        scraped(f"http://{listen}")


def test_tls(listen: str, server: Pair) -> None:
    """With a certificate it is HTTPS with that certificate: who does not trust it reads nothing, nor does plain HTTP."""
    scrape = Scrape(listen, tls_of(server))
    try:
        assert b"process_open_fds" in scraped(f"https://{listen}", trusting(server))
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            scraped(f"https://{listen}", ssl.create_default_context())
        with pytest.raises(OSError, match=r"."):
            scraped(f"http://{listen}")
    finally:
        scrape.close()


def test_only_known_clients(listen: str, server: Pair, client: Pair) -> None:
    """With --tls-client-ca only a client with a certificate of that authority is answered."""
    scrape = Scrape(listen, replace(tls_of(server), client_ca=str(client.certificate)))
    try:
        assert b"process_open_fds" in scraped(f"https://{listen}", trusting(server, client))
        for stranger in (None, server):
            with pytest.raises(OSError, match=r"."):
                scraped(f"https://{listen}", trusting(server, stranger))
    finally:
        scrape.close()


OPTIONS = {"--tls-cert": "certificate", "--tls-key": "key", "--tls-client-ca": "client_ca"}


@pytest.mark.parametrize("option", OPTIONS)
def test_files_that_are_no_pem(option: str, listen: str, server: Pair, tmp_path: Path) -> None:
    """A file that is missing, or that holds something else, is refused by the name of its option; nobody listens then."""
    (tmp_path / "text").write_text("no PEM\n")
    for name in ("missing", "text"):
        with pytest.raises(HostError, match=option) as refused:
            Scrape(listen, replace(tls_of(server), **{OPTIONS[option]: str(tmp_path / name)}))
        assert str(tmp_path / name) in str(refused.value)
        assert "--listen" not in str(refused.value)
    Scrape(listen).close()


def test_a_key_of_another_certificate(listen: str, server: Pair, client: Pair) -> None:
    """A certificate and a key that do not belong together are named both."""
    with pytest.raises(HostError, match=r"--tls-cert .* with --tls-key .*mismatch"):
        Scrape(listen, Tls(str(server.certificate), str(client.key)))


def test_a_key_with_a_pass_phrase(listen: str, server: Pair, tmp_path: Path) -> None:
    """An agent has no terminal to ask at: the key is refused, and nothing waits for an answer."""
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(server.key), "-out", str(locked), "-passout", "pass:secret"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(HostError, match=r"--tls-key .*without a pass phrase"):
        Scrape(listen, Tls(str(server.certificate), str(locked)))


def test_a_port_that_is_taken() -> None:
    """Another listener is named as the reason, and --listen as what to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HostError, match=f"{listen} .another program listens there.*--listen"):
            Scrape(listen)


@pytest.mark.parametrize(
    "listen", ["9469", ":9469", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "::1:²"]
)
def test_what_is_no_address(listen: str) -> None:
    """Said with an example, before anything is opened."""
    with pytest.raises(UsageError, match="write ADDR:PORT"):
        Scrape(listen)
