"""An application on the Python implementation of RSocket: what it does is told line by line on standard output.

    client.py tcp|websocket PORT RUN [MTU]

RUN names its series and its execution; with MTU, requests go in fragments of so many bytes.
"""

import asyncio
import os
import sys
from datetime import timedelta

import cramjam
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from reactivestreams.subscriber import DefaultSubscriber
from rsocket.helpers import create_future, single_transport_provider
from rsocket.payload import Payload
from rsocket.request_handler import BaseRequestHandler
from rsocket.rsocket_client import RSocketClient
from rsocket.transports.aiohttp_websocket import TransportAioHttpClient
from rsocket.transports.tcp import TransportTCP


def tell(*words):
    print(*words, flush=True)


def seal(public_key, text):
    key = os.urandom(16)
    oaep = OAEP(MGF1(hashes.SHA1()), hashes.SHA256(), None)
    wrapped = serialization.load_der_public_key(bytes(public_key)).encrypt(key, oaep)
    padder = padding.PKCS7(128).padder()
    block = padder.update(bytes(cramjam.snappy.compress_raw(text.encode()))) + padder.finalize()
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return Payload(cipher.update(block) + cipher.finalize(), wrapped)


class Application(BaseRequestHandler):
    def __init__(self, run):
        super().__init__()
        self.run, self.key, self.pulled, self.refused = run, create_future(), create_future(), create_future()

    def text(self, kind, lines=1):
        labels = f'task_execution_id="{self.run}-{kind}",task_external_execution_id="p"'
        more = "".join(f'filler{{i="{i}",{labels}}} {i}\n' for i in range(lines - 1))
        return f"# TYPE peer_total counter\npeer_total{{{labels}}} 7\n{more}"

    async def request_fire_and_forget(self, payload):
        if not self.key.done():
            self.key.set_result(payload.data)

    async def request_response(self, payload):
        if not self.pulled.done():
            self.pulled.set_result(None)
        return create_future(seal(payload.data, self.text("live")))

    async def on_error(self, error_code, payload):
        if not self.refused.done():
            self.refused.set_result(f"{error_code.name} {bytes(payload.data).decode()}")


class Failure(DefaultSubscriber):
    def __init__(self):
        super().__init__()
        self.words = create_future()

    def on_error(self, exception):
        self.words.set_result(str(exception))

    def on_complete(self):
        self.words.set_result("complete")


async def transport(kind, port):
    if kind == "websocket":
        return TransportAioHttpClient(f"http://127.0.0.1:{port}/any/path")
    return TransportTCP(*await asyncio.open_connection("127.0.0.1", port))


async def connect(kind, port, application, **settings):
    client = RSocketClient(
        single_transport_provider(await transport(kind, port)),
        handler_factory=lambda: application,
        max_lifetime_period=timedelta(seconds=60),
        **settings,
    )
    await client.connect()
    return client


async def converse(client, application):
    key = await application.key
    tell("key", len(key))
    await application.pulled
    tell("pulled")
    await client.request_response(seal(key, application.text("response", 200)))
    tell("acknowledged")
    await client.fire_and_forget(seal(key, application.text("fnf", 200)))
    tell("fired")
    for name, request in [("stream", client.request_stream), ("channel", client.request_channel)]:
        failure = Failure()
        request(Payload(b"x")).subscribe(failure)
        tell(name, await failure.words)
    await client.metadata_push(b"x")
    try:
        await client.request_response(Payload(b"x", b"y"))
        tell("unreadable taken")
    except Exception as error:
        tell("unreadable", error)
    # The connection lives on after all that.
    await client.request_response(seal(key, application.text("last")))
    tell("acknowledged again")


async def main(kind, port, run, mtu=None):
    application = Application(run)
    client = await connect(kind, port, application, fragment_size_bytes=int(mtu) if mtu else None)
    await converse(client, application)
    await client.close()
    tell("closed")
    leasing = Application(run)
    client = await connect(kind, port, leasing, honor_lease=True)
    tell("lease", await leasing.refused)
    await client.close()


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
