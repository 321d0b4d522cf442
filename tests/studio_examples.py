"""What tests of the studio share: a workbench over tiny nets with random weights, pictures, a server in a thread."""

import io
import json
import struct
import threading
import time
import zlib
from contextlib import contextmanager

import numpy as np
from PIL import Image
from tests.generation_examples import open_pool, save_models
from tests.unit.data.measured_phantom import measure_copy

from lfvar.measure.profiles import Profiles
from lfvar.studio.limits import Limits
from lfvar.studio.workbench import Workbench
from lfvar.synthesizer import Synthesizer


def make_workbench(phantom_folder, folder, limits=None, **settings):
    """Over 16-px phantoms; `folder` gets the data, the checkpoints and what is judged."""
    prepared = folder / "phantom"
    if not prepared.is_dir():
        measure_copy(phantom_folder, prepared)
        save_models(folder, prepared)
    profiles = Profiles.read(prepared / "profiles.parquet")
    synthesizer = Synthesizer.from_run(folder / "transformer.ckpt", profiles=profiles, device="cpu")
    return Workbench(
        synthesizer=synthesizer,
        pool=open_pool(prepared),
        profiles=profiles,
        limits=limits or Limits(),
        output=folder / "judged",
        about={"model": "random weights"},
        **settings,
    )


def first_image(workbench):
    """The id of an image with a lesion."""
    return next(row.image_id for row in workbench.pool.manifest.rows if row.lesion_fraction > 0.02)


def png_of(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def photograph(height=90, width=120, seed=0):
    """Skin-coloured noise."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal((210, 160, 140), 12, (height, width, 3)), 0, 255).astype(np.uint8)


def disc(height=90, width=120, x=60, y=45, radius=20):
    """A mask."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    return (across - x) ** 2 + (down - y) ** 2 < radius**2


def huge_png(side=20_000):
    """A PNG file of a few kilobytes that unpacks to side × side RGB pixels, made without unpacking it here."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side * 3)
    # A hundredth of the rows is enough for a decoder to reserve memory for all of them.
    body = b"".join(packer.compress(row) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@contextmanager
def served(studio, **settings):
    """The address of a studio on a free port of this machine."""
    import uvicorn

    from lfvar.studio.serve import listen

    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(studio.app, log_level="warning", access_log=False, **settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


class Client:
    """What the page does, without a browser."""

    def __init__(self, http, page=True):
        self.http = http
        self.page = http.post("/api/pages").json()["page"] if page else None

    def own(self, rest):
        return f"/api/pages/{self.page}/{rest}"

    def upload(self, data, what="photographs", name="skin.png", **query):
        return self.http.post(self.own(what), params={"name": name, **query}, content=data)

    def post(self, rest, data=None):
        return self.http.post(self.own(rest), json=data or {})

    def follow(self, ticket, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ticket["state"] in ("done", "stopped", "failed"):
                return ticket
            time.sleep(0.02)
            ticket = self.http.get(self.own(f"tickets/{ticket['id']}")).json()
        raise TimeoutError(json.dumps(ticket))

    def generate(self, **request):
        response = self.post("edits", request)
        assert response.status_code == 200, response.text
        return self.follow(response.json())

    def pixels(self, rest):
        response = self.http.get(self.own(rest))
        assert response.status_code == 200, response.text
        return np.asarray(Image.open(io.BytesIO(response.content)))
