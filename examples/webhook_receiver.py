"""WEBHOOK_SECRET=… PORT=8080 python webhook_receiver.py; needs aiohttp. Takes only calls signed with the secret."""

import base64
import hmac
import os
import time

from aiohttp import web

secret = os.environ["WEBHOOK_SECRET"].encode()
done: set[str] = set()  # keep it in your database


async def receive(request: web.Request) -> web.Response:
    delivery_id, timestamp = (
        request.headers.get(f"X-MLflow-{name}", "") for name in ("Delivery-Id", "Timestamp")
    )
    body = await request.read()
    digest = hmac.digest(secret, f"{delivery_id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    signatures = request.headers.get("X-MLflow-Signature", "").encode("utf-8", "replace").split(b" ")
    if not any(hmac.compare_digest(expected, signature) for signature in signatures):
        return web.Response(status=401)
    if abs(time.time() - int(timestamp)) > 300:
        return web.Response(status=400, text="too old, perhaps a replay")
    if delivery_id not in done:
        print(body.decode(), flush=True)  # your work
        done.add(delivery_id)
    return web.Response(status=204)


app = web.Application()
app.router.add_post("/hook", receive)
web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")), print=None)
