"""Access control of the server, and concurrent clients."""

import os
import threading
from pathlib import Path

import httpx
import pytest
from clients import Client
from mischief import READ, REFUSED

from involution.explore import server as server_module

pytestmark = pytest.mark.slow  # a server is started


def test_the_environment_is_restored(monkeypatch):
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/")
    before = dict(os.environ)
    with server_module._environment("folder"):
        assert os.environ["GRADIO_TEMP_DIR"] == "folder"
        assert "GRADIO_ALLOWED_PATHS" not in os.environ
    assert dict(os.environ) == before


@pytest.fixture
def client(address):
    with Client(address) as client:
        yield client


def memory(pid):
    """Resident memory, in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def test_it_listens_on_this_machine_alone(address):
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    assert host == "127.0.0.1"
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [line[1] for line in listening if line[1].endswith(f":{int(port):04X}") and line[3] == "0A"] == [
        f"0100007F:{int(port):04X}"
    ]


def test_a_strange_name_for_this_machine_is_refused(address):
    assert httpx.get(address, headers={"Host": "stranger.example"}).status_code == 400


@pytest.mark.parametrize("name", REFUSED)
def test_refused_files_are_answered(client, name):
    content, message = REFUSED[name]
    answer = client.bring(name, client.upload(name, content))
    assert message in str(answer["message-a"])
    assert answer["heat-a"] == {"__type__": "update"}  # stays as it is


@pytest.mark.parametrize("name", READ)
def test_other_files_are_shown(client, name):
    answer = client.bring(name, client.upload(name, READ[name]))
    status, content = client.fetch(answer["heat-a"]["path"])
    assert (status, content[:4]) == (200, b"\x89PNG")


def test_a_picture_is_not_written_over_while_a_browser_reads_it(client):
    uploaded = client.upload("few.png", READ["few.png"])
    path = client.bring("few.png", uploaded)["heat-a"]["path"]
    with open(path, "r+b") as reader:
        first = reader.read(4)
        os.pwrite(reader.fileno(), b"read", 0)
        assert client.bring("few.png", uploaded)["heat-a"]["path"] == path
        assert os.pread(reader.fileno(), 4, 0) == b"read"
        os.pwrite(reader.fileno(), first, 0)


def test_an_uploaded_drawing_is_not_run_by_a_browser(client):
    path = client.upload("drawing.svg", REFUSED["drawing.svg"][0])
    headers = client.http.get(f"/gradio_api/file={path}").headers
    assert headers["content-disposition"].startswith("attachment")


def test_no_file_of_the_machine_can_be_fetched(client, server, weights):
    secret = server.folder / "secret.txt"
    inside = Path(client.upload("a.png", READ["few.png"])).parent
    for path in (
        "/etc/passwd",
        secret,
        "secret.txt",
        weights,
        inside / "../../../../../etc/passwd",
        f"file://{secret}",
    ):
        status, content = client.fetch(path)
        assert status in (403, 404), path
        assert b"secret\n" not in content and b"root:" not in content


def test_no_file_of_the_machine_can_be_read_as_an_upload(client, server):
    (server.folder / "private.png").write_bytes(READ["few.png"])
    for path in (server.folder / "private.png", "private.png"):
        with pytest.raises(AssertionError, match="success"):
            client.bring("private.png", str(path))


def test_a_choice_that_is_none_is_refused(client):
    with pytest.raises(AssertionError, match="success"):
        client.send("network-a", "input", {"network-a": "/etc/passwd"})


def test_what_is_too_large_is_not_taken(client, monkeypatch):
    def much():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.ckpt"\r\n\r\n'
        for _ in range(520):
            yield bytes(2**20)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.http.post("/gradio_api/upload", content=much(), headers=headers).status_code == 413


def click_for_a_while(address, pid, clients, clicks):
    """Let clients click concurrently; return the number of responses of each, and the growth of memory in MiB."""
    answered = [0] * clients

    def use(number):
        with Client(address) as user:
            for n in range(clicks):
                picture = user.click((37 * n + 11 * number) % 640, (53 * n) % 427)["kernels-a"]
                assert picture["path"]
                answered[number] += 1

    for round in range(2):
        if round == 1:
            before = memory(pid)
        threads = [threading.Thread(target=use, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answered, memory(pid) - before


def test_several_users_at_once(address, server):
    answered, growth = click_for_a_while(address, server.pid, clients=8, clicks=2)
    assert answered == [4] * 8
    assert growth < 100
