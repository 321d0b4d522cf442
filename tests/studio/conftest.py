"""A studio over tiny nets, made once."""

import pytest

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
pytest.importorskip("uvicorn", reason="the extra `studio` is not installed")


@pytest.fixture(scope="session")
def studio_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="session")
def workbench(phantom_folder, studio_folder):
    from tests.studio_examples import make_workbench

    return make_workbench(phantom_folder, studio_folder)


@pytest.fixture
def studio(workbench):
    from lfvar.studio.app import Studio

    made = Studio(workbench)
    yield made
    made.desk.close()
    made.sessions.close_all()
