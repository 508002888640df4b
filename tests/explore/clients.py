"""Clients of the page without a browser. They send and receive the messages of its JavaScript."""

import json
import uuid

import httpx


class Client:
    """One user: the events of the page by the component that they start from."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, timeout=30)
        self.config = self.http.get("/config").raise_for_status().json()
        self.session = uuid.uuid4().hex
        self.ids = {c["props"].get("elem_id"): c["id"] for c in self.config["components"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def send(self, name, event, data, event_data=None):
        """Start an event of a component and return its outputs by component."""
        [call] = [d for d in self.config["dependencies"] if [self.ids.get(name), event] in d["targets"]]
        body = {"fn_index": call["id"], "session_hash": self.session, "event_data": event_data}
        by_id = {self.ids[key]: value for key, value in data.items()}
        body["data"] = [by_id.get(i) for i in call["inputs"]]
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed":
                    names = {i: n for n, i in self.ids.items()}
                    assert message["success"], message
                    return dict(zip(map(names.get, call["outputs"]), message["output"]["data"], strict=True))
        raise AssertionError("the page closed the connection")

    def click(self, x, y):
        """Click on the left heat map, in its pixels."""
        return self.send("heat-a", "select", {"compare": False}, {"index": [x, y], "value": None})

    def upload(self, name, content):
        """Upload a file, and return the name that the page gives it."""
        answer = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        answer.raise_for_status()
        return answer.json()[0]

    def bring(self, name, path):
        """Request that the page read the image at `path` on its machine."""
        file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.send("upload-a", "upload", {"upload-a": file})

    def fetch(self, path):
        """Return the status and content of a file on the machine of the page."""
        answer = self.http.get(f"/gradio_api/file={path}")
        return answer.status_code, answer.content
