"""Drives paho-mqtt for the tests in the folder above: commands come as JSON
lines on stdin, events leave as JSON lines on stdout."""

import json
import ssl
import sys
import threading
from urllib.parse import urlparse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

stdout = threading.Lock()


def emit(event, **values):
    with stdout:
        sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
        sys.stdout.flush()


def code(reason):
    return reason if isinstance(reason, int) else reason.value


def codes(reasons):
    if not isinstance(reasons, (list, tuple)):
        reasons = [reasons]
    return [code(r) for r in reasons]


def properties(kind, message):
    p = Properties(kind)
    if message.get("user"):
        p.UserProperty = [tuple(pair) for pair in message["user"]]
    if message.get("content_type"):
        p.ContentType = message["content_type"]
    if message.get("response"):
        p.ResponseTopic = message["response"]
    if message.get("correlation"):
        p.CorrelationData = bytes.fromhex(message["correlation"])
    if message.get("expiry"):
        p.MessageExpiryInterval = message["expiry"]
    return p


class Driver:
    """One connection at a time."""

    def __init__(self):
        self.client = None
        self.five = False
        self.over = True  # the end of the connection is known
        self.answered = False  # CONNACK has come

    def connect(self, o):
        self.five = o["version"] == 5
        url = urlparse(o["url"])
        options = {
            "client_id": o["client_id"],
            "protocol": o["version"],
            "transport": "websockets" if url.scheme in ("ws", "wss") else "tcp",
            "reconnect_on_failure": False,
        }
        if not self.five:
            options["clean_session"] = o["clean"]
        c = self.client = mqtt.Client(**options)
        c.on_connect = self.on_connect
        c.on_message = self.on_message
        c.on_subscribe = self.on_subscribe
        c.on_unsubscribe = self.on_unsubscribe
        c.on_disconnect = self.on_disconnect
        if url.path:
            c.ws_set_options(path=url.path)
        if url.scheme in ("mqtts", "wss"):
            c.tls_set(o["ca"], o.get("cert"), o.get("key"), cert_reqs=ssl.CERT_REQUIRED)
        if o.get("username"):
            c.username_pw_set(o["username"], o.get("password"))
        self.set_will(o)
        self.over = self.answered = False
        more = {}
        if self.five:
            more["clean_start"] = o["clean"]
            more["properties"] = Properties(PacketTypes.CONNECT)
            more["properties"].SessionExpiryInterval = o["session_expiry"]
        c.connect(url.hostname, url.port, o["keep_alive"], **more)
        c.loop_start()

    def set_will(self, o):
        will = o.get("will")
        if not will:
            return
        p = None
        if self.five:
            p = properties(PacketTypes.WILLMESSAGE, will)
            p.WillDelayInterval = o["will_delay"]
        self.client.will_set(will["topic"], bytes.fromhex(will["payload"]), will["qos"], will["retain"], p)

    def subscribe(self, o):
        if self.five:
            self.client.subscribe([(f["filter"], SubscribeOptions(qos=f["qos"])) for f in o["filters"]])
        else:
            self.client.subscribe([(f["filter"], f["qos"]) for f in o["filters"]])

    def unsubscribe(self, o):
        self.client.unsubscribe(o["filters"])

    def publish(self, o):
        p = properties(PacketTypes.PUBLISH, o) if self.five else None
        info = self.client.publish(o["topic"], bytes.fromhex(o["payload"]), o["qos"], o["retain"], p)
        info.wait_for_publish()
        emit("published", code=-1)  # this version keeps the code to itself

    def disconnect(self, _):
        self.client.disconnect()

    def on_connect(self, _client, _data, flags, reason, _properties=None):
        self.answered = True
        emit("connected", code=code(reason), session=flags["session present"])

    def on_subscribe(self, _client, _data, _mid, granted, _properties=None):
        emit("subscribed", codes=codes(granted))

    def on_unsubscribe(self, _client, _data, _mid, _properties=None, reasons=()):
        emit("unsubscribed", codes=codes(reasons))

    def on_disconnect(self, _client, _data, reason, _properties=None):
        if self.over:
            return
        self.over = True
        if not self.answered:
            emit("error", text="closed before CONNACK")
        elif reason is None or code(reason) == 0:
            emit("disconnected")
        else:  # a number is the library's own
            emit("gone", code=-1 if isinstance(reason, int) else reason.value)

    def on_message(self, _client, _data, m):
        e = {"topic": m.topic, "payload": m.payload.hex(), "qos": m.qos, "retain": bool(m.retain), "dup": bool(m.dup)}
        p = getattr(m, "properties", None)
        if p is not None:
            e["user"] = getattr(p, "UserProperty", [])
            e["content_type"] = getattr(p, "ContentType", "")
            e["response"] = getattr(p, "ResponseTopic", "")
            e["correlation"] = getattr(p, "CorrelationData", b"").hex()
            e["expiry"] = getattr(p, "MessageExpiryInterval", 0)
        emit("message", **e)


def main():
    # the library's thread ends with an exception where TLS is refused late
    threading.excepthook = lambda args: emit("error", text=repr(args.exc_value))
    driver = Driver()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            getattr(driver, command["do"])(command)
        except Exception as e:  # whatever it is, the test must hear of it
            emit("error", text=repr(e))


main()
