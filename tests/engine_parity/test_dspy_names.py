"""The engine under dspy's names: attribute paths at once, imports on request, loggers by the name that is known."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import subprocess
import sys
import textwrap
from types import ModuleType

import dspex.engine as engine
import pytest
from dspex.engine.dspy_names import PATHS, DspyModule


def run(program: str) -> str:
    """What a program prints in a process of its own, where no one has imported dspy."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_attribute_paths_of_dspy_lead_to_the_engine() -> None:
    assert engine.utils.DummyLM is engine.DummyLM
    assert engine.utils.dummies.DummyLM is engine.DummyLM
    assert engine.primitives.prediction.Prediction is engine.Prediction
    assert engine.utils.exceptions.AdapterParseError is engine.AdapterParseError
    assert engine.dsp.utils.settings.settings is engine.settings
    assert engine.clients.base_lm.BaseLM is engine.BaseLM
    assert engine.utils is engine.utils


def test_every_path_is_one_of_dspys_and_names_modules_that_the_engine_has(dspy: ModuleType) -> None:
    assert [path for path in PATHS if importlib.util.find_spec(f"dspy.{path}") is None] == []
    for modules in PATHS.values():
        for module in modules:
            importlib.import_module(f"dspex.engine.{module}")


def test_what_dspy_keeps_in_a_public_module_is_found_there(dspy: ModuleType) -> None:
    """Every public name that programs import from a path, if the engine has the name at all."""
    lacking = []
    for path in PATHS:
        theirs = importlib.import_module(f"dspy.{path}")
        ours = DspyModule("dspy", path)
        for name in getattr(theirs, "__all__", ()):
            if name in engine.__all__ and not hasattr(ours, name):
                lacking.append(f"{path}.{name}")
    assert lacking == []


def test_the_version_is_that_of_the_dspy_it_behaves_as(dspy: ModuleType) -> None:
    assert engine.__version__ == dspy.__version__


def test_a_name_that_nobody_has_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = engine.nothing
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = engine.utils.nothing
    with pytest.raises(AttributeError, match="has no `AvatarOptimizer`"):
        _ = engine.teleprompt.AvatarOptimizer


def test_importing_the_engine_takes_no_name_and_install_as_takes_it_until_removed() -> None:
    assert (
        run(
            """
            import sys, logging
            import dspex.engine
            finders = list(sys.meta_path)
            assert "dspy" not in sys.modules
            installed = dspex.engine.install_as("dspy")
            import dspy
            import dspy.predict.predict
            from dspy import *
            from dspy.primitives.module import Module as FromPath
            from dspy.signatures.signature import ensure_signature
            from dspy.utils import DummyLM
            assert FromPath is dspy.Module is dspex.engine.Module is Module
            assert dspy.settings is dspex.engine.settings
            assert dspex.engine.predict.Predict is dspy.Predict  # our own module has not been replaced
            assert dspex.engine.install_as("dspy") is not installed and sys.meta_path == finders
            for missing in (
                "import dspy.nothing",
                "import dspy.teleprompt.avatar_optimizer",
                "from dspy import AvatarOptimizer",
            ):
                try:
                    exec(missing)
                except ImportError as error:
                    assert "dspy" in str(error)
                else:
                    raise AssertionError(missing)
            logging.basicConfig(format="%(name)s %(filename)s", stream=sys.stdout)
            dspy.configure(lm=DummyLM([{"b": "1"}, {"b": "2"}]))
            dspy.Predict("a -> b")(a=1, c=2)
            installed.remove()
            assert sys.meta_path == finders and not [name for name in sys.modules if name.startswith("dspy")]
            dspex.engine.Predict("a -> b")(a=1, c=2)
            """
        ).split("\n")
        == ["dspy.predict.predict predict.py", "dspex.engine.predict predict.py"]
    )


def test_a_program_that_puts_the_engine_into_sys_modules_itself_gets_its_records_too() -> None:
    assert (
        run(
            """
            import sys, logging
            import dspex.engine
            sys.modules["dspy"] = dspex.engine
            import dspy
            import dspy.teleprompt
            from dspy.signatures import Signature
            from dspy.signatures.signature import ensure_signature
            from dspy.utils.dummies import DummyLM
            from dspex.engine.utils.exceptions import AdapterParseError
            import dspex.engine.signatures.signature
            assert Signature is dspy.Signature is dspex.engine.signatures.signature.Signature
            assert DummyLM is dspy.DummyLM and AdapterParseError is dspy.AdapterParseError
            try:
                import dspy.lm
            except ModuleNotFoundError as error:
                assert "dspy.lm" in str(error)
            logging.getLogger("dspy").addHandler(logging.StreamHandler(sys.stdout))
            dspy.configure(lm=DummyLM([{"b": "1"}]))
            dspy.Predict("a -> b")(b=1)
            """
        )
        == "Input contains fields not in signature. These fields will be ignored: ['b']. Expected fields: ['a'].\n"
        "Not all input fields were provided to module. Present: []. Missing: ['a']."
    )


def test_a_real_dspy_is_not_hidden(dspy: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="has been imported already"):
        engine.install_as("dspy")
    assert sys.modules["dspy"] is dspy
    with pytest.raises(ValueError, match="top-level module name"):
        engine.install_as("dspy.utils")


def test_another_name_may_be_taken_beside_a_real_dspy(dspy: ModuleType) -> None:
    with engine.install_as("dspy_on_dspex"):
        made = importlib.import_module("dspy_on_dspex.predict.predict")
        assert made.Predict is engine.Predict
    assert importlib.util.find_spec("dspy_on_dspex") is None


def test_logging_can_be_switched_off_and_on(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("dspex.engine")
    before = (logger.handlers[:], logger.level, logger.propagate)
    predict = engine.Predict("a -> b")
    try:
        engine.configure_dspy_loggers("dspex.engine")
        for switch in (engine.enable_logging, engine.disable_logging, engine.enable_logging):
            switch()
            engine.configure(lm=engine.DummyLM([{"b": "1"}]))
            predict(a=1, c=switch.__name__)
        assert capsys.readouterr().err.count("Input contains fields not in signature") == 2
    finally:
        engine.enable_logging()
        logger.handlers, logger.level, logger.propagate = before[0], before[1], before[2]
