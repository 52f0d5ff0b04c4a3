"""python consume_promotions.py localhost:9092 model-promoted deployer done.sqlite ./deploy.sh"""

import json
import sqlite3
import subprocess
import sys

from confluent_kafka import Consumer, KafkaException

bootstrap, topic, group, done_path, *command = sys.argv[1:]
done = sqlite3.connect(done_path, isolation_level=None)
done.execute("CREATE TABLE IF NOT EXISTS done (event_id TEXT PRIMARY KEY)")
settings = {"bootstrap.servers": bootstrap, "group.id": group, "session.timeout.ms": 6000}
consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe([topic])
while True:
    message = consumer.poll()
    if message is None or message.error():
        raise KafkaException(message and message.error())
    event = json.loads(message.value() or b"")
    if not done.execute("SELECT 1 FROM done WHERE event_id = ?", [event["event_id"]]).fetchone():
        subprocess.run([*command, event["model"], str(event["version"])], check=True)
        done.execute("INSERT INTO done VALUES (?)", [event["event_id"]])  # it may come twice; its id tells
    consumer.commit(message=message, asynchronous=False)  # after the work: nothing is lost
