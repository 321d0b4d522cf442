"""The addresses of the studio: thin functions from a request of the page to what the other files do."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lfvar.data.imageio import encode_png, read_image
from lfvar.errors import LfvarError
from lfvar.studio import bundle, edit, judge, sources
from lfvar.studio.desk import Desk, Ticket
from lfvar.studio.explore import Explorer
from lfvar.studio.guard import Guard
from lfvar.studio.pictures import read_mask_upload, read_photograph, show, show_mask, view_size
from lfvar.studio.prompts import understand
from lfvar.studio.refusal import Refusal, missing
from lfvar.studio.request import (
    EditRequest,
    JudgeAnswer,
    JudgeRequest,
    Sentence,
    ShapeRequest,
    read_request,
)
from lfvar.studio.sessions import Session, Sessions, Upload
from lfvar.studio.workbench import Workbench

PAGE = Path(__file__).parent / "page"
_MOST_JSON = 2_000_000
"""Bytes of a request that is no file."""
_SWEEP_SECONDS = 10


class Studio:
    """The web application around a workbench.

    Args:
        workbench: What it works with.
        token: See `lfvar.studio.guard`.
    """

    def __init__(self, workbench: Workbench, token: str | None = None) -> None:
        self.workbench = workbench
        self.desk = Desk(workbench.limits.waiting)
        self.sessions = Sessions(workbench.limits, on_close=self.desk.stop_session)
        self.explorer = Explorer(workbench)
        self.app = Starlette(
            routes=self._routes(),
            middleware=[Middleware(Guard, token=token)],
            exception_handlers={LfvarError: _refused, HTTPException: _refused_by_address},
            lifespan=self._lifespan,
        )

    def _routes(self) -> list[Route | Mount]:
        page = "/api/pages/{page}"
        return [
            Route("/", lambda request: FileResponse(PAGE / "index.html")),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/api/state", self._call(self._state)),
            Route("/api/ranges", self._call(lambda r: self.workbench.ranges(r.query_params.get("type")))),
            Route("/api/images", self._call(self._browse)),
            Route("/api/images/{image}", self._call(lambda r: self.explorer.image(r.path_params["image"]))),
            Route("/api/images/{image}/image.png", self._call(self._dataset_image)),
            Route("/api/images/{image}/mask.png", self._call(self._dataset_mask)),
            Route("/api/explore", self._call(lambda r: self.explorer.plane(r.query_params.get("method", "pca")))),
            Route("/api/profiles", self._call(lambda r: self.explorer.profiles())),
            Route("/api/training/{number:int}.png", self._call(self._training)),
            Route("/api/pages", self._call(self._open), methods=["POST"]),
            Route(f"{page}/alive", self._call(self._alive), methods=["POST"]),
            Route(f"{page}/close", self._call(self._close), methods=["POST"]),
            Route(f"{page}/photographs", self._photograph, methods=["POST"]),
            Route(f"{page}/photographs/{{key}}/view.png", self._call(self._view)),
            Route(f"{page}/masks", self._mask, methods=["POST"]),
            Route(f"{page}/prompt", self._call(self._prompt, Sentence), methods=["POST"]),
            Route(f"{page}/shape", self._call(self._shape, ShapeRequest), methods=["POST"]),
            Route(f"{page}/edits", self._call(self._edit, EditRequest), methods=["POST"]),
            Route(f"{page}/tickets/{{ticket}}", self._call(self._ticket)),
            Route(f"{page}/tickets/{{ticket}}/stop", self._call(self._stop), methods=["POST"]),
            Route(f"{page}/edits/{{ticket}}", self._call(self._result)),
            Route(f"{page}/edits/{{ticket}}/before.png", self._call(self._before)),
            Route(f"{page}/edits/{{ticket}}/{{number:int}}.png", self._call(self._sample)),
            Route(f"{page}/edits/{{ticket}}/bundle.zip", self._call(self._bundle)),
            Route(f"{page}/tests", self._call(self._test, JudgeRequest), methods=["POST"]),
            Route(f"{page}/tests/{{ticket}}/{{number:int}}.png", self._call(self._trial)),
            Route(f"{page}/tests/{{ticket}}/answers", self._call(self._answer, JudgeAnswer), methods=["POST"]),
            Route(f"{page}/tests/{{ticket}}/summary", self._call(self._summary)),
            Route(f"{page}/tests/{{ticket}}/answers.csv", self._call(self._answers)),
        ]

    def _call(self, do: Callable[..., Any], kind: Any = None) -> Callable[[Request], Any]:
        """A function that may take its time, as an endpoint: in a thread, its data checked, its answer as JSON."""

        async def endpoint(request: Request) -> Response:
            if kind is None:
                answer = await to_thread.run_sync(partial(do, request))
            else:
                data = read_request(kind, await _read_json(request))
                answer = await to_thread.run_sync(partial(do, request, data))
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        return endpoint

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Close silent pages while it runs, and leave nothing behind."""

        async def sweep() -> None:
            while True:
                await anyio.sleep(_SWEEP_SECONDS)
                await to_thread.run_sync(self.sessions.sweep)

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(sweep)
                yield
                group.cancel_scope.cancel()
        finally:
            self.desk.close()
            self.sessions.close_all()

    # The dataset

    def _state(self, request: Request) -> dict[str, Any]:
        return self.workbench.describe()

    def _browse(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        page = asked.get("page", "0")
        return self.explorer.browse(
            label=asked.get("type") or None,
            split=asked.get("split") or None,
            text=asked.get("text", "")[:100],
            page=int(page) if page.isdecimal() and len(page) < 9 else 0,
        )

    def _dataset_image(self, request: Request) -> Response:
        return _png(encode_png(self.workbench.read_image(request.path_params["image"])))

    def _dataset_mask(self, request: Request) -> Response:
        return _png(show_mask(self.workbench.read_mask(request.path_params["image"])))

    def _training(self, request: Request) -> Response:
        number, pictures = request.path_params["number"], self.workbench.training_pictures
        if number >= len(pictures) or not pictures[number].is_file():
            raise missing("that picture")
        step = pictures[number].stem.removeprefix("step_").lstrip("0") or "0"
        return FileResponse(pictures[number], media_type="image/png", headers={"x-step": step})

    # A page and its files

    def _session(self, request: Request) -> Session:
        return self.sessions.get(request.path_params["page"])

    def _open(self, request: Request) -> dict[str, str]:
        return {"page": self.sessions.open().id}

    def _alive(self, request: Request) -> dict[str, bool]:
        self._session(request)
        return {"open": True}

    def _close(self, request: Request) -> dict[str, bool]:
        self.sessions.close(request.path_params["page"])
        return {"open": False}

    async def _photograph(self, request: Request) -> Response:
        session = self._session(request)
        path, digest = await _receive(request, session, self.workbench.limits.upload_megabytes)
        return JSONResponse(await to_thread.run_sync(partial(self._keep_photograph, request, session, path, digest)))

    def _keep_photograph(self, request: Request, session: Session, path: Path, digest: str) -> dict[str, Any]:
        name = _file_name(request)
        try:
            with sources.ONE_PHOTOGRAPH:
                image_HWC = read_photograph(path, name, self.workbench.limits.megapixels)
                shape = (image_HWC.shape[0], image_HWC.shape[1])
                path.with_suffix(".view").write_bytes(show(image_HWC))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        key = session.add_upload(Upload(name, path, shape, digest))
        return {"id": key, "name": name, "width": shape[1], "height": shape[0], "view": _view(shape)}

    async def _mask(self, request: Request) -> Response:
        session = self._session(request)
        path, digest = await _receive(request, session, self.workbench.limits.upload_megabytes)
        return JSONResponse(await to_thread.run_sync(partial(self._keep_mask, request, session, path, digest)))

    def _keep_mask(self, request: Request, session: Session, path: Path, digest: str) -> dict[str, Any]:
        name, asked = _file_name(request), request.query_params
        try:
            data = {"kind": asked.get("kind"), "id": asked.get("picture")}
            picture = read_request(ShapeRequest, {"picture": data, "mask": {"kind": "drawn"}}).picture
            shape = sources.picture_shape(self.workbench, session, picture)
            with sources.ONE_PHOTOGRAPH:
                mask_HW = read_mask_upload(path, name, self.workbench.limits.megapixels, shape)
                png = show_mask(mask_HW)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        key = session.add_upload(Upload(name, path, shape, digest, mask_of=picture.id))
        return {"id": key, "name": name, "png": _base64(png), "measured": self._outline(mask_HW)}

    def _view(self, request: Request) -> Response:
        return _png(_view_file(self._session(request).upload(request.path_params["key"])).read_bytes())

    # Edit

    def _prompt(self, request: Request, data: Sentence) -> dict[str, Any]:
        self._session(request)
        return understand(self.workbench, data.text)

    def _shape(self, request: Request, data: ShapeRequest) -> dict[str, Any]:
        shape = sources.picture_shape(self.workbench, self._session(request), data.picture)
        mask_HW = sources.draw_mask(data.mask, shape)
        return {"png": _base64(show_mask(mask_HW)), "measured": self._outline(mask_HW)}

    def _outline(self, mask_HW: Any) -> dict[str, float]:
        return sources.measure_outline(self.workbench, mask_HW)

    def _edit(self, request: Request, data: EditRequest) -> dict[str, Any]:
        session = self._session(request)
        edit.check_request(self.workbench, session, data)
        ticket = self.desk.submit(session.id, partial(edit.make, self.workbench, session, data))
        return self._describe(ticket)

    def _ticket(self, request: Request) -> dict[str, Any]:
        session = self._session(request)
        return self._describe(self.desk.get(session.id, request.path_params["ticket"]))

    def _stop(self, request: Request) -> dict[str, Any]:
        ticket = self.desk.get(self._session(request).id, request.path_params["ticket"])
        self.desk.stop(ticket)
        return self._describe(ticket)

    def _describe(self, ticket: Ticket) -> dict[str, Any]:
        return {
            "id": ticket.id,
            "state": ticket.state,
            "progress": ticket.progress,
            "note": ticket.note,
            "error": ticket.error,
            "parts": list(ticket.parts),
            "ahead": self.desk.ahead(ticket) if ticket.state == "waiting" else 0,
        }

    def _edit_of(self, request: Request) -> tuple[Session, edit.Edit]:
        session = self._session(request)
        found = session.results.get(request.path_params["ticket"])
        if not isinstance(found, edit.Edit):
            raise missing("that result")
        return session, found

    def _result(self, request: Request) -> dict[str, Any]:
        _, found = self._edit_of(request)
        return {
            "samples": len(found.results),
            "seeds": [found.request.seed + n for n in range(len(found.results))],
            "label": found.request.label,
            "warnings": found.warnings,
            "rows": [] if found.comparison is None else found.comparison.rows(self.workbench),
            "has_before": bool(found.source_measured),
            "width": found.shape[1],
            "height": found.shape[0],
            "view": _view(found.shape),
        }

    def _before(self, request: Request) -> Response:
        session, found = self._edit_of(request)
        return _png(encode_png(self._view_of(session, found)))

    def _sample(self, request: Request) -> Response:
        session, found = self._edit_of(request)
        number = request.path_params["number"]
        if number >= len(found.results):
            raise missing("that sample")
        if request.query_params.get("full"):
            return _png(encode_png(edit.render(self.workbench, session, found, number)))
        return _png(encode_png(edit.preview(self.workbench, found, number, self._view_of(session, found))))

    def _view_of(self, session: Session, found: edit.Edit) -> Any:
        if found.frame is None:
            return found.square_HWC
        return read_image(_view_file(session.upload(found.request.picture.id)))

    def _bundle(self, request: Request) -> Response:
        session, found = self._edit_of(request)
        path = bundle.write_bundle(self.workbench, session, found)
        return FileResponse(
            path,
            media_type="application/zip",
            filename=f"studio-{request.path_params['ticket']}.zip",
            background=BackgroundTask(path.unlink, missing_ok=True),
        )

    # Judge

    def _test(self, request: Request, data: JudgeRequest) -> dict[str, Any]:
        session = self._session(request)
        judge.check_request(self.workbench, data)
        judge.draw_trials(self.workbench, data)  # says at once when there are too few images
        return self._describe(self.desk.submit(session.id, partial(judge.start, self.workbench, session, data)))

    def _test_of(self, request: Request) -> judge.BlindTest:
        found = self._session(request).results.get(request.path_params["ticket"])
        if not isinstance(found, judge.BlindTest):
            raise missing("that test")
        return found

    def _trial(self, request: Request) -> Response:
        test, number = self._test_of(request), request.path_params["number"]
        if number >= len(test.images):
            raise missing("that image")
        return _png(encode_png(test.images[number]))

    def _answer(self, request: Request, data: JudgeAnswer) -> dict[str, int]:
        test = self._test_of(request)
        test.answer(data)
        return {"answered": len(test.answers), "of": len(test.trials)}

    def _summary(self, request: Request) -> dict[str, Any]:
        return self._test_of(request).summary()

    def _answers(self, request: Request) -> Response:
        test = self._test_of(request)
        test.summary()  # not before the end
        headers = {"content-disposition": f'attachment; filename="{test.path.name}"'}
        return Response(test.as_csv(), media_type="text/csv; charset=utf-8", headers=headers)


async def _receive(request: Request, session: Session, megabytes: int) -> tuple[Path, str]:
    """Write the body to a file of the page, and refuse it as soon as it is too large.

    Returns:
        The file, and the SHA-256 of its bytes.
    """
    path, limit, size, digest = session.new_file(), megabytes * 1_000_000, 0, hashlib.sha256()
    too_large = Refusal(f"the file is larger than {megabytes} MB", cure="use a smaller one", status=413)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    try:
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                digest.update(chunk)
                await file.write(chunk)
        if not size:
            raise Refusal("the file is empty", cure="choose another one")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, digest.hexdigest()


async def _read_json(request: Request) -> Any:
    pieces, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MOST_JSON:
            raise Refusal("the request is too long", cure="reload the page", status=413)
        pieces.append(chunk)
    try:
        return json.loads(b"".join(pieces) or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refusal("the request cannot be read", cure="reload the page") from error


def _file_name(request: Request) -> str:
    """What the user calls the file, for messages and the record; never part of a path."""
    name = request.query_params.get("name", "picture").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:80] or "picture"


def _view_file(upload: Upload) -> Path:
    if not upload.view.is_file():
        raise missing("that file")
    return upload.view


def _view(shape: tuple[int, int]) -> dict[str, int]:
    height, width = view_size(*shape)
    return {"width": width, "height": height}


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _refused(request: Request, error: Exception) -> Response:
    """Our errors as a sentence for the page."""
    assert isinstance(error, LfvarError)
    status = error.status if isinstance(error, Refusal) else 400
    headers = {"retry-after": "5"} if status == 429 else None
    return JSONResponse({"error": error.message, "cure": error.cure}, status, headers)


async def _refused_by_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "there is nothing at this address", "cure": "reload the page"}, error.status_code)
