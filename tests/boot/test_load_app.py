"""APP is loaded, or rejected with one sentence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from processor.boot.load_app import load
from processor.errors import LoadError

TASKS = """
from processor import Processor

app = Processor()

@app.task("charge")
def charge(task): ...

class Shop:
    class Desk:
        @staticmethod
        def handle(task): ...

def handle(task): ...
async def handle_later(task): ...
def writes_down(task): yield task
async def writes_down_later(task): yield task
class Writer:
    def __call__(self, task): yield task
writer = Writer()
def takes_nothing(): ...
def takes_two(task, other): ...
def takes_more(task, *others, flag=False): ...
empty = Processor()
number = 7
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    Path("shop_tasks.py").write_text(TASKS)


def refused(app: str) -> str:
    importlib.invalidate_caches()  # the folder may have changed within the resolution of its time
    with pytest.raises(LoadError) as caught:
        load(app)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_a_function_becomes_the_handler_of_every_task() -> None:
    handler = load("shop_tasks:handle").sole_handler
    assert handler is not None
    assert not handler.is_async


def test_an_async_function_is_recognized() -> None:
    handler = load("shop_tasks:handle_later").sole_handler
    assert handler is not None
    assert handler.is_async


def test_a_processor_is_used_as_it_is() -> None:
    assert load("shop_tasks:app").names == ["charge"]


def test_an_attribute_may_be_dotted() -> None:
    assert load("shop_tasks:Shop.Desk.handle").sole_handler


def test_a_handler_may_have_further_optional_parameters() -> None:
    assert load("shop_tasks:takes_more").sole_handler


def test_a_module_of_a_package_in_the_current_folder_is_loaded() -> None:
    Path("shop_package").mkdir()
    Path("shop_package/tasks.py").write_text(TASKS)
    assert load("shop_package.tasks:handle").sole_handler


def test_only_the_named_module_is_executed() -> None:
    """Neither its neighbors nor other modules of its package, nor code hidden in the name."""
    ran = Path("ran")
    for neighbour in ("other", "conftest", "sitecustomize", "shop/other", "shop/__main__"):
        file = Path(f"{neighbour}.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"open({str(ran)!r}, 'a').write(__name__)")
    Path("shop/__init__.py").write_text("")
    Path("shop/tasks.py").write_text("def handle(task): ...")
    load("shop.tasks:handle")
    for app in ("shop.tasks:handle; import other", "shop.tasks:__import__('other')", "shop:other", "..other:handle"):
        refused(app)
    assert not ran.exists()


@pytest.mark.parametrize("app", ["shop_tasks", "shop_tasks:", ":handle", "", ":"])
def test_an_invalid_app_is_rejected_with_the_expected_form(app: str) -> None:
    assert "must be MODULE:ATTRIBUTE, such as tasks:handle" in refused(app)


def test_a_file_name_is_rejected_with_the_modules_name() -> None:
    assert refused("shop/tasks.py:handle").endswith("must name a module, not a file; for example shop.tasks:handle")


@pytest.mark.parametrize("app", ["shop", "shop.py", "shop:", "shop.py:handle"])
def test_a_module_alone_is_rejected_with_the_attributes_that_it_has(app: str) -> None:
    Path("shop.py").write_text("def _send(): ...\nasync def charge(task): ...\nclass Order: ...\ndef ship(task): ...\n")
    assert refused(app).endswith("; for example shop:charge or shop:ship")
    Path("shop.py").write_text("def charge(task): ...\ndef handle(task): ...\n")
    assert refused(app).endswith("; for example shop:handle")
    Path("shop.py").write_text("import processor\nlimit = 7\nwork = processor.Processor()\ndef charge(task): ...\n")
    assert refused(app).endswith("; for example shop:work")
    Path("shop.py").write_text("def charge(task)\n")
    assert refused(app).endswith("; for example shop:handle")


def test_a_missing_module_is_reported() -> None:
    assert "there is no module 'shop_taks' in the current folder" in refused("shop_taks:handle")


def test_a_missing_package_is_named_instead_of_its_module() -> None:
    assert "there is no module 'no_shop' in" in refused("no_shop.tasks:handle")


def test_a_missing_dependency_of_app_is_reported() -> None:
    Path("needy.py").write_text("import os\nimport absent_library\n")
    sentence = refused("needy:handle")
    assert "importing 'needy' for APP failed: it needs the module 'absent_library', which is not installed" in sentence
    assert sentence.endswith("needy.py:2)")


def test_an_exception_during_the_import_is_reported_with_its_location() -> None:
    Path("broken.py").write_text("import json\n\ndef connect():\n    json.loads('{')\n\nconnect()\n")
    sentence = refused("broken:handle")
    assert "importing 'broken' for APP failed: JSONDecodeError: Expecting property name" in sentence
    assert sentence.endswith("broken.py:4)")


def test_a_syntax_error_is_reported_with_its_line() -> None:
    Path("wrong.py").write_text("x = 1\ndef handle(:\n")
    sentence = refused("wrong:handle")
    assert "SyntaxError: invalid syntax" in sentence
    assert sentence.endswith("wrong.py:2)")


def test_an_exit_during_the_import_is_an_error() -> None:
    Path("leaves.py").write_text("import sys\nsys.exit(0)\n")
    assert "importing 'leaves' for APP failed: SystemExit: 0" in refused("leaves:handle")


def test_a_multi_line_exception_becomes_one_short_line() -> None:
    Path("wordy.py").write_text("raise ValueError('line\\n' * 1000)\n")
    assert len(refused("wordy:handle")) < 600


def test_two_handlers_for_one_name_are_rejected() -> None:
    Path("twice.py").write_text(TASKS + '\n@app.task("charge")\ndef again(task): ...\n')
    assert "the task 'charge' has two handlers" in refused("twice:app")


def test_a_lifespan_and_a_middleware_that_cannot_be_called_are_rejected() -> None:
    Path("odd.py").write_text(TASKS + "\n@app.middleware\ndef around(task): ...\n")
    assert "the middleware around(task) must take two arguments, the task and the next call" in refused("odd:app")
    Path("odder.py").write_text(TASKS + "\n@app.lifespan\ndef database(): ...\n")
    assert "the lifespan database must be a generator function" in refused("odder:app")


def test_a_keyword_of_a_handler_that_cannot_be_used_is_reported_with_its_location() -> None:
    app = "from processor import Processor\napp = Processor()\n"
    Path("typo.py").write_text(app + '@app.task("refund", retry_on="ValueError")\ndef refund(task): ...\n')
    sentence = refused("typo:app")
    assert "retry_on must be an exception type or a tuple of them, not 'ValueError'" in sentence
    assert sentence.endswith("typo.py:3)")


def test_a_missing_attribute_is_reported_with_similar_names() -> None:
    assert refused("shop_tasks:handel").endswith("shop_tasks has no 'handel'; did you mean 'handle'?")
    assert "shop_tasks.Shop has no 'Dsk'; did you mean 'Desk'?" in refused("shop_tasks:Shop.Dsk.handle")


def test_an_object_that_is_not_a_handler_is_rejected() -> None:
    assert "APP must be a function or a Processor, not int" in refused("shop_tasks:number")
    assert "has no handlers" in refused("shop_tasks:empty")


@pytest.mark.parametrize("name", ["takes_nothing", "takes_two"])
def test_a_handler_that_does_not_accept_a_task_is_rejected(name: str) -> None:
    assert "must take one argument, the task" in refused(f"shop_tasks:{name}")


@pytest.mark.parametrize("name", ["writes_down", "writes_down_later", "writer"])
def test_a_generator_is_rejected(name: str) -> None:
    assert "is a generator, so that a call runs none of its code: remove the yield" in refused(f"shop_tasks:{name}")
