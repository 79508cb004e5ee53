"""Events as the CNCF's own library writes them, in each mode, for a test to send.

It prints one JSON object per event: the headers and the body, in Base64, of its request.
"""

import base64
import json
from datetime import datetime, timezone

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

ATTRIBUTES = {
    "specversion": "1.0",
    "source": "https://crm.example/ü",
    "type": "headroom.signal.nps_recorded",
    "subject": 'acme/ü & "co" 100%',
    "time": datetime.now(timezone.utc),
    "datacontenttype": "application/json",
}

for mode, write in [("structured", to_structured_event), ("binary", to_binary_event)]:
    message = write(CloudEvent({**ATTRIBUTES, "id": mode}, {"score": 9, "by": "Zoë"}))
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    told = {"headers": dict(message.headers), "body": base64.b64encode(body).decode()}
    print(json.dumps(told), flush=True)
