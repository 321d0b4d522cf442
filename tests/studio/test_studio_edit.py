"""Edits through the addresses of the studio: what comes out, what is said, what is refused."""

import base64
import csv
import io
import json
import zipfile

import httpx
import numpy as np
import pytest
from tests.studio_examples import Client, disc, first_image, photograph, png_of, served

from lfvar.data.generated import read_generated
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import Manifest
from lfvar.data.provenance import read_provenance
from lfvar.studio.app import Studio
from lfvar.studio.pictures import resize_mask, view_size


@pytest.fixture(scope="module")
def client(workbench):
    with served(Studio(workbench)) as address, httpx.Client(base_url=address, timeout=60) as http:
        yield Client(http)


@pytest.fixture
def image_id(workbench):
    return first_image(workbench)


def painted(mask_HW):
    """A mask as the page sends it, at the size of its view."""
    height, width = view_size(*mask_HW.shape)
    rows = np.arange(height) * mask_HW.shape[0] // height
    columns = np.arange(width) * mask_HW.shape[1] // width
    return {
        "kind": "painted",
        "png": base64.b64encode(png_of(mask_HW[rows][:, columns].astype(np.uint8) * 255)).decode(),
    }


def test_the_page_knows_what_the_model_takes(client, workbench):
    state = client.http.get("/api/state").json()
    assert state["classes"] == list(workbench.synthesizer.classes)
    names = [knob["name"] for knob in state["knobs"]]
    assert names == ["clinical_colour_lightness", "clinical_colour_redness", "histogram_entropy", "histogram_mean"]
    assert [knob["main"] for knob in state["knobs"]] == [True, True, True, False]


def test_ranges_are_those_of_the_type(client, workbench):
    mine = client.http.get("/api/ranges", params={"type": "mel"}).json()["clinical_colour_lightness"]
    anyone = client.http.get("/api/ranges").json()["clinical_colour_lightness"]
    measured = [
        workbench.pool.measured[row.image_id]["clinical_colour_lightness"]
        for row in workbench.pool.manifest.select("train")
        if row.label == "mel"
    ]
    assert mine[0] == pytest.approx(min(measured))
    assert mine[10] == pytest.approx(np.median(measured))
    assert mine == sorted(mine)
    assert anyone[0] < mine[0] or anyone[-1] > mine[-1]


def test_an_edit_of_the_dataset_leaves_the_skin_alone(client, workbench, image_id):
    ticket = client.generate(
        picture={"kind": "dataset", "id": image_id}, mask={"kind": "own"}, label="mel", samples=3, seed=5
    )
    assert ticket["state"] == "done"
    assert ticket["parts"] == [0, 1, 2]
    source, mask = workbench.pool.read_image(image_id), workbench.pool.read_mask(image_id)
    samples = [client.pixels(f"edits/{ticket['id']}/{n}.png") for n in range(3)]
    for sample in samples:
        assert np.array_equal(sample[~mask], source[~mask])
        assert not np.array_equal(sample[mask], source[mask])
    assert not np.array_equal(samples[0], samples[1])
    alone = workbench.synthesizer.edit(source, mask, type="mel", seeds=[6], guidance=None)[0]
    assert np.array_equal(samples[1], alone)  # what a notebook makes with that seed


def test_asked_and_measured_stand_side_by_side(client, workbench, image_id):
    from lfvar.measure.extract import measure

    name = "clinical_colour_lightness"
    ticket = client.generate(
        picture={"kind": "dataset", "id": image_id},
        mask={"kind": "own"},
        label="nv",
        samples=2,
        measurements={name: 40.0},
    )
    rows = {row["name"]: row for row in client.http.get(client.own(f"edits/{ticket['id']}")).json()["rows"]}
    assert rows[name]["asked"] == [40.0, 40.0]
    assert rows[name]["asked_by"] == "you"
    assert rows[name]["before"] == workbench.pool.measured[image_id][name]
    mask = workbench.pool.read_mask(image_id)
    for number in range(2):
        image = client.pixels(f"edits/{ticket['id']}/{number}.png")
        assert rows[name]["measured"][number] == pytest.approx(measure(image, mask).as_dict()[name])
    assert rows["clinical_colour_redness"]["asked_by"] == "free"
    area = rows["clinical_relative_area"]
    assert area["asked_by"] == "mask"
    assert area["asked"][0] == pytest.approx(mask.mean())
    assert area["measured"] == pytest.approx([mask.mean()] * 2)


def test_the_rest_may_go_with_what_is_set(client, image_id):
    request = {"picture": {"kind": "dataset", "id": image_id}, "mask": {"kind": "own"}, "label": "nv", "samples": 2}
    request["measurements"] = {"clinical_colour_lightness": 40.0}
    for rest, same in (("mean", True), ("source", True), ("sampled", False)):
        ticket = client.generate(**request, rest=rest)
        rows = {row["name"]: row for row in client.http.get(client.own(f"edits/{ticket['id']}")).json()["rows"]}
        first, second = rows["clinical_colour_redness"]["asked"]
        assert rows["clinical_colour_redness"]["asked_by"] == "rest"
        assert (first == second) == same
        assert rows["clinical_colour_lightness"]["asked"] == [40.0, 40.0]


def test_a_photograph_of_another_size_keeps_its_bytes(client):
    image, mask = photograph(), disc()
    upload = client.upload(png_of(image)).json()
    assert (upload["width"], upload["height"]) == (120, 90)
    ticket = client.generate(picture={"kind": "upload", "id": upload["id"]}, mask=painted(mask), samples=1)
    full = client.pixels(f"edits/{ticket['id']}/0.png?full=1")
    assert np.array_equal(full[~mask], image[~mask])
    assert not np.array_equal(full[mask], image[mask])


def test_a_mask_file_must_have_the_size_of_its_picture(client):
    upload = client.upload(png_of(photograph())).json()
    given = {"what": "masks", "name": "mask.png", "kind": "upload", "picture": upload["id"]}
    mask = disc().astype(np.uint8) * 255
    loaded = client.upload(png_of(mask), **given).json()
    ticket = client.generate(
        picture={"kind": "upload", "id": upload["id"]}, mask={"kind": "file", "id": loaded["id"]}, samples=1
    )
    changed = (client.pixels(f"edits/{ticket['id']}/0.png?full=1") != photograph()).any(axis=2)
    assert not changed[mask == 0].any()
    refused = client.upload(png_of(mask[:40]), **given)
    assert refused.status_code == 400
    assert refused.json()["error"] == "the mask “mask.png” is 120×40 pixels, its picture 120×90"
    assert "black" in client.upload(png_of(np.zeros((90, 120), np.uint8)), **given).json()["error"]
    other = client.upload(png_of(photograph(seed=1))).json()
    ticket = client.generate(picture={"kind": "upload", "id": other["id"]}, mask={"kind": "file", "id": loaded["id"]})
    assert ticket["state"] == "failed"
    assert "another picture" in ticket["error"]


def test_painted_masks_survive_the_trip_at_the_models_size():
    mask = np.random.default_rng(0).random((64, 64)) > 0.5
    height, width = view_size(64, 64)
    assert (height, width) == (640, 640)
    grey = np.repeat(np.repeat(mask, 10, axis=0), 10, axis=1).astype(np.uint8) * np.uint8(255)
    assert np.array_equal(resize_mask(grey, (64, 64)), mask)


def test_the_old_lesion_goes_unless_it_shall_stay(client, workbench, image_id):
    source, own = workbench.pool.read_image(image_id), workbench.pool.read_mask(image_id)
    corner = np.zeros((16, 16), bool)
    corner[:5, :5] = True
    assert (own & ~corner).any()
    for erase in (True, False):
        ticket = client.generate(
            picture={"kind": "dataset", "id": image_id}, mask=painted(corner), samples=1, erase=erase
        )
        changed = (client.pixels(f"edits/{ticket['id']}/0.png") != source).any(axis=2)
        assert not changed[~(corner | own)].any()
        assert changed[own & ~corner].any() == erase


def test_a_sentence_fills_the_controls(client, workbench, image_id):
    found = client.post("prompt", {"text": "three large, dark melanomas in the upper left"}).json()
    assert found["label"] == "mel"
    assert found["samples"] == 3
    asked = found["measurements"]["clinical_colour_lightness"]
    assert asked["value"] == pytest.approx(float(workbench.profiles.quantile("mel", 0.15)["clinical_colour_lightness"]))
    drawn = client.post(
        "shape", {"picture": {"kind": "dataset", "id": image_id}, "mask": {"kind": "drawn", **found["shape"]}}
    ).json()
    assert drawn["measured"]["clinical_relative_area"] == pytest.approx(found["shape"]["relative_area"], abs=0.005)
    assert ["melanomas", "type", "", "mel"] in found["rows"] or any(row[1] == "type" for row in found["rows"])
    assert client.post("prompt", {"text": "a pale nevus"}).json()["shape"] is None
    refused = client.post("prompt", {"text": "a purple nevus"})
    assert refused.status_code == 400
    assert "purple" in refused.json()["error"]


def test_what_is_downloaded_is_a_dataset_with_its_provenance(client, workbench, image_id, tmp_path):
    ticket = client.generate(
        picture={"kind": "dataset", "id": image_id}, mask={"kind": "own"}, label="bcc", samples=2, seed=7
    )
    answer = client.http.get(client.own(f"edits/{ticket['id']}/bundle.zip"))
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    rows = Manifest.read(folder).rows
    assert [row.label for row in rows] == ["bcc", "bcc"]
    assert {row.lesion_id for row in rows} == {workbench.pool.rows[image_id].lesion_id or image_id}
    for number, row in enumerate(rows):
        assert np.array_equal(read_image(folder / row.image), client.pixels(f"edits/{ticket['id']}/{number}.png"))
        assert np.array_equal(read_mask(folder / row.mask), workbench.pool.read_mask(image_id))
        facts = read_provenance(folder / row.image)
        assert facts["synthetic"]
        assert (facts["seed"], facts["type"], facts["source"]) == (7 + number, "bcc", image_id)
    table = read_generated(folder)
    assert list(table["seed"]) == [7, 8]
    assert list(table["source_id"]) == [image_id] * 2
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["hashes"]["transformer"] == workbench.synthesizer.hashes["transformer"]
    assert provenance["settings"]["source"]["label"] == "bcc"
    lines = list(csv.DictReader((folder / "measured.csv").read_text().splitlines()))
    assert {line["image_id"] for line in lines} == {row.image_id for row in rows}
    assert client.http.get(client.own(f"edits/{ticket['id']}/bundle.zip")).content == answer.content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": 17}, "17 samples are asked for at once"),
        ({"samples": 0}, "samples: input should be greater than or equal to 1"),
        ({"label": "mole"}, "no lesion type 'mole'"),
        ({"measurements": {"clinical_colour": 1.0}}, "no measurement 'clinical_colour'"),
        ({"measurements": {"clinical_relative_area": 0.1}}, "follows from the mask"),
        ({"measurements": {"clinical_colour_lightness": float("nan")}}, "finite"),
        ({"picture": {"kind": "dataset", "id": "../../etc/passwd"}}, "is not here"),
        ({"picture": {"kind": "upload", "id": "nothing"}}, "that file is not here"),
        ({"mask": {"kind": "drawn", "relative_area": 2}}, "relative_area"),
        ({"surprise": 1}, "surprise"),
        ({"class_strength": 100}, "class_strength"),
        ({"seed": -1}, "seed"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(client, image_id, change, words):
    request = {"picture": {"kind": "dataset", "id": image_id}, "mask": {"kind": "own"}, "samples": 1} | change
    answer = client.http.post(client.own("edits"), content=json.dumps(request))
    assert answer.status_code in (400, 404)
    assert words in answer.json()["error"]
    assert answer.json()["cure"]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"kind": "painted", "png": "AAAA"}, "cannot be read"),
        ({"kind": "painted", "png": "no base64!"}, "cannot be read"),
        ({"kind": "painted", "png": base64.b64encode(png_of(np.zeros((640, 640), np.uint8))).decode()}, "empty"),
        ({"kind": "painted", "png": base64.b64encode(png_of(np.zeros((10, 10), np.uint8))).decode()}, "10×10"),
    ],
)
def test_a_mask_that_cannot_be_used_says_why(client, image_id, mask, words):
    ticket = client.generate(picture={"kind": "dataset", "id": image_id}, mask=mask, samples=1)
    assert ticket["state"] == "failed"
    assert words in ticket["error"]
    assert ticket["error"].endswith(".")
