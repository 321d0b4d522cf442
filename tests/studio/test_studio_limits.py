"""What the studio does not do: too much, too large, for strangers, or outside its folders."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
from tests.studio_examples import Client, first_image, huge_png, photograph, png_of, served

from lfvar.errors import ArtefactError, ConfigError
from lfvar.studio.app import Studio
from lfvar.studio.desk import Desk, Stopped
from lfvar.studio.guard import choose_token, is_loopback
from lfvar.studio.limits import Limits
from lfvar.studio.refusal import Refusal
from lfvar.studio.serve import listen, page_address
from lfvar.studio.sessions import Sessions


@pytest.fixture(scope="module")
def small(workbench):
    """A studio with room for little."""
    return replace(workbench, limits=Limits(upload_megabytes=1, megapixels=1, waiting=4, pages=3, uploads=2, results=2))


@pytest.fixture
def client(small):
    with served(Studio(small)) as address, httpx.Client(base_url=address, timeout=60) as http:
        yield Client(http)


def own(image_id):
    return {"picture": {"kind": "dataset", "id": image_id}, "mask": {"kind": "own"}, "samples": 1}


def test_twenty_at_once_are_done_or_refused_politely(client, small):
    image_id = first_image(small)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: client.post("edits", own(image_id)), range(20)))
    done = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(done) + len(refused) == 20
    assert len(done) >= 4
    assert len(refused) >= 1
    for answer in refused:
        assert "busy" in answer.json()["error"]
        assert answer.headers["retry-after"]
    assert {client.follow(answer.json())["state"] for answer in done} == {"done"}
    kept = [client.http.get(client.own(f"edits/{answer.json()['id']}")).status_code for answer in done]
    assert kept.count(200) == 2  # what a page keeps is bounded, and so is memory


def test_edits_end_no_blind_test(small):
    sessions = Sessions(small.limits)
    page = sessions.open()
    page.add_result("test", object())
    for number in range(5):
        page.add_result(f"edit {number}", str(number))
    assert list(page.results) == ["test", "edit 3", "edit 4"]
    sessions.close_all()


@pytest.mark.parametrize("where", ["photographs", "masks"])
def test_a_file_that_unpacks_to_far_too_much_is_not_unpacked(client, small, where):
    import resource

    upload = client.upload(png_of(photograph())).json()
    file = huge_png()
    assert len(file) < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = client.upload(file, where, name="bomb.png", kind="upload", picture=upload["id"])
    assert answer.status_code == 413
    assert answer.json()["error"] == "“bomb.png” is too large: far too many pixels"
    assert answer.json()["cure"] == "use one of 1 million pixels or fewer"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # KiB; unpacked it would be 1.2 GB


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "the file is empty"),
        (b"GIF89a" + bytes(100), 400, "no picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", 400, "no picture that can be read"),
        (b"RIFF\x00\x00\x00\x00WAVE" + bytes(50), 400, "no picture that can be read"),
        (png_of(photograph())[:2000], 400, "damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), 400, "damaged or cut short"),
        (png_of(photograph(8, 200)), 400, "is 200×8 pixels"),
        (bytes(1_000_001), 413, "larger than 1 MB"),
        (png_of(np.zeros((1001, 1000, 3), np.uint8)), 413, "is too large: 1000×1001 pixels, too many"),
    ],
)
def test_bad_uploads_are_refused_with_a_sentence(client, data, status, words):
    answer = client.upload(data, name="a/b\\skin.png")
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert "/" not in answer.json()["error"]


def test_a_refused_upload_leaves_no_file(small):
    studio = Studio(small)
    with served(studio) as address, httpx.Client(base_url=address, timeout=60) as http:
        client = Client(http)
        folder = studio.sessions.get(client.page).folder
        for data in (b"nonsense", png_of(photograph())[:2000], bytes(1_000_001)):
            assert client.upload(data).status_code >= 400

        def endless():  # no length is declared: it ends where the limit is
            for _ in range(100):
                yield bytes(50_000)

        assert http.post(client.own("photographs"), content=endless()).status_code == 413
        assert list(folder.iterdir()) == []


def test_files_go_when_the_page_closes_and_when_the_studio_does(small):
    studio = Studio(small)
    with served(studio) as address, httpx.Client(base_url=address, timeout=60) as http:
        client, other = Client(http), Client(http)
        for seed in range(3):  # two are kept
            client.upload(png_of(photograph(seed=seed)))
        folder = studio.sessions.get(client.page).folder
        assert len(list(folder.iterdir())) == 4
        client.post("close")
        assert not folder.exists()
        assert client.post("alive").status_code == 404
        other.upload(png_of(photograph()))
        everything = studio.sessions.folder
        assert list(everything.iterdir())
    assert not everything.exists()


def test_silent_pages_are_closed_and_only_so_many_are_open():
    now = [0.0]
    closed = []
    sessions = Sessions(Limits(pages=2, idle_minutes=1), on_close=closed.append, clock=lambda: now[0])
    first, second = sessions.open(), sessions.open()
    with pytest.raises(Refusal, match="2 pages of this studio are open") as caught:
        sessions.open()
    assert caught.value.status == 429
    now[0] = 50.0
    sessions.get(second.id)
    now[0] = 70.0
    sessions.sweep()
    assert closed == [first.id]
    assert not first.folder.exists()
    assert sessions.get(second.id) is second
    sessions.close_all()


def test_stop_ends_what_runs_and_what_waits():
    desk = Desk(waiting=4)
    steps, began = [], threading.Event()

    def work(ticket):
        for step in range(10_000):
            ticket.report(step / 10_000, "working")
            steps.append(step)
            began.set()
            time.sleep(0.005)

    running, waiting = desk.submit("a", work), desk.submit("a", work)
    assert began.wait(5)
    assert desk.ahead(waiting) == 1
    desk.stop(waiting)
    assert waiting.state == "stopped"
    desk.stop(running)
    assert running.finished.wait(5)
    assert running.state == "stopped"
    assert len(steps) < 5_000
    after = desk.submit("a", lambda ticket: ticket.parts.append("fine"))
    assert after.finished.wait(5)
    assert (after.state, after.parts) == ("done", ["fine"])
    desk.close()


def test_a_bug_is_told_as_such_and_the_studio_goes_on(capsys):
    desk = Desk(waiting=4)
    ticket = desk.submit("a", lambda ticket: 1 / 0)
    assert ticket.finished.wait(5)
    assert ticket.state == "failed"
    assert "terminal" in ticket.error
    assert "ZeroDivisionError" in capsys.readouterr().err
    after = desk.submit("a", lambda ticket: None)
    assert after.finished.wait(5)
    desk.close()


def test_stop_ends_an_image_between_two_scales(workbench):
    """Also one that is half done: nothing is finished just because it was begun."""
    from lfvar.sampling.editing import Job

    seen = []

    def watch(k):
        seen.append(k)
        if k == 1:
            raise Stopped

    jobs = [Job(seed) for seed in range(2)]
    with pytest.raises(Stopped):
        list(workbench.synthesizer.run(jobs, batch_size=1, watch=watch))
    assert seen == [0, 1]


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/api/images/..%2f..%2fmanifest.parquet",
        "/api/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd/image.png",
        "/api/images/..%2f..%2f..%2fetc%2fpasswd/image.png",
        "/api/training/..%2f1.png",
        "/api/pages/..%2f..%2fetc/photographs/passwd/view.png",
        "/etc/passwd",
        "/../../etc/passwd",
    ],
)
def test_no_path_leads_out(client, path):
    """As it is written: an ordinary client would tidy the path up first."""
    import socket

    host, port = client.http.base_url.host, client.http.base_url.port
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.split(b" ")[1] == b"404"
    assert b"root:" not in answer
    assert b"import" not in answer


def test_a_manifest_that_leads_out_of_its_folder_is_not_followed(workbench):
    from dataclasses import replace as changed

    from lfvar.generation.pool import Pool

    image_id = first_image(workbench)
    rows = tuple(
        changed(row, image="../transformer.ckpt") if row.image_id == image_id else row
        for row in workbench.pool.manifest.rows
    )
    pool = Pool(workbench.pool.folder, changed(workbench.pool.manifest, rows=rows), {})
    with pytest.raises(ArtefactError, match="outside of it"):
        replace(workbench, pool=pool).read_image(image_id)


def test_one_page_cannot_reach_what_another_has(client, small):
    other = Client(client.http)
    ticket = client.generate(**own(first_image(small)))
    upload = client.upload(png_of(photograph())).json()
    assert other.http.get(other.own(f"edits/{ticket['id']}")).status_code == 404
    assert other.http.get(other.own(f"tickets/{ticket['id']}")).status_code == 404
    assert other.http.get(other.own(f"photographs/{upload['id']}/view.png")).status_code == 404


def test_other_web_pages_get_nothing(client):
    for headers in (
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"host": "evil.example"},
    ):
        assert client.http.post("/api/pages", headers=headers).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.http.get("/", headers=link).status_code == 200


def test_every_answer_forbids_what_comes_from_elsewhere(client):
    for path in ("/", "/page/app.js", "/api/state", "/nothing"):
        policy = client.http.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy


def test_with_a_token_nobody_gets_in_without_it(workbench):
    token = choose_token("0.0.0.0", None)
    with served(Studio(workbench, token)) as address, httpx.Client(base_url=address) as http:
        for request in ({}, {"params": {"token": "wrong"}}, {"headers": {"authorization": "Bearer wrong"}}):
            for path in ("/", "/api/state", "/page/app.js"):
                answer = http.get(path, **request)
                assert answer.status_code == 401
                assert "token" in answer.text
        assert http.get("/api/state", headers={"authorization": f"Bearer {token}"}).status_code == 200
        entered = http.get("/", params={"token": token})
        assert entered.status_code == 303
        assert token not in entered.headers["location"]
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert http.get("/api/state").status_code == 200  # the cookie


def test_only_this_machine_unless_told_otherwise():
    assert choose_token("127.0.0.1", None) is None
    assert choose_token("localhost", None) is None
    assert choose_token("::1", None) is None
    assert len(choose_token("0.0.0.0", None)) > 30
    assert len(choose_token("192.168.1.5", None)) > 30
    assert choose_token("127.0.0.1", "x" * 16) == "x" * 16
    with pytest.raises(ConfigError, match="could be guessed"):
        choose_token("0.0.0.0", "1234")
    assert not is_loopback("127.0.0.1.evil.example")
    assert page_address("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert page_address("::1", 80, "abc") == "http://[::1]:80/?token=abc"


def test_a_taken_port_is_told(tmp_path):
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port={port} cannot be used"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot be used"):
        listen("192.0.2.1", 0)  # an address of nobody's


def test_limits_are_at_least_one():
    with pytest.raises(ValueError, match="samples must be at least 1"):
        Limits(samples=0)
