"""ModelServer: a role is served by the first candidate that is there, fits and is well; otherwise it says why."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.core.protocols import ChatMessage
from retainer.models import local as local_module
from retainer.models.errors import FetchError, ModelFailedError, ModelNotReadyError, ModelUnavailableError
from retainer.models.handles import ServedPredictor
from retainer.models.predictor import Scores, TrainedOn, constant_predictor
from retainer.models.progress import Progress
from retainer.models.scripted import ScriptedModel
from retainer.models.server import LocalLLM, ModelServer
from retainer.models.settings import ModelSettings
from retainer.models.store import ModelStore

ASK = [ChatMessage("user", "Hello?")]
NOBODY = "http://127.0.0.1:9"


def settings(tmp_path: Path, **more: Any) -> ModelSettings:
    return ModelSettings.model_validate({"cache": tmp_path, "ollama": "", "hub": "", "offline": True, **more})


def constant() -> Any:
    span = TrainedOn(first="2000-01-03", last="2001-01-03", rows=250)
    scores = Scores(rows=100, log_loss=0.69, constant_log_loss=0.69)
    return constant_predictor(0.5, features=("x",), trained_on=span, scores=scores)


# --- plain use -------------------------------------------------------------------------------------------------------
def test_as_a_library_one_line_gives_an_answer() -> None:
    with ModelServer(ModelSettings(model="small", threads=1)) as server:
        model = server.get_model("chat")
        assert model.state.phase == "present"
        assert model.generate("Say hello.", max_tokens=5)
        assert model.generate([{"role": "user", "content": "Say hello."}], max_tokens=5)
        assert model.predict("Is grass green or blue?", ["green", "blue"]) in {"green", "blue"}
        assert model.state.phase == "ready"
        assert model.name == "smollm2-135m-instruct-q4_1"


async def test_the_plain_methods_work_inside_a_running_loop_too() -> None:
    model = LocalLLM(ModelServer(chat=ScriptedModel(["fine"])))
    assert model.generate("How are you?") == "fine"


def test_parameters_hold_for_later_calls_and_are_checked() -> None:
    script = ScriptedModel(["a b c", "a b c"])
    model = ModelServer(chat=script).get_model("chat")
    model.update_parameters(system="Be kind.", max_tokens=2, temperature=0.7)
    assert model.generate("Hi") == "a b"
    assert model.generate("Hi", max_tokens=1, temperature=0.0) == "a"
    assert script.calls[0].messages == (ChatMessage("system", "Be kind."), ChatMessage("user", "Hi"))
    assert [call.temperature for call in script.calls] == [0.7, 0.0]
    with pytest.raises(InvalidInputError, match="max_tokens"):
        model.update_parameters(max_tokens=0)
    with pytest.raises(InvalidInputError, match="colour"):
        model.update_parameters(colour="red")


def test_a_choice_outside_the_offer_is_never_returned() -> None:
    model = ModelServer(chat=ScriptedModel([{"choice": "green"}, "nonsense", {"choice": "b"}])).get_model("chat")
    for _ in range(2):
        with pytest.raises(ModelFailedError):
            model.predict("?", ["a", "b"])
    assert model.predict("?", ["a", "b"]) == "b"
    with pytest.raises(InvalidInputError):
        model.predict("?", [])
    with pytest.raises(InvalidInputError, match="role"):
        model.generate([{"role": "boss", "content": "x"}])


def test_an_unknown_role_lists_the_roles() -> None:
    with pytest.raises(NotFoundError, match="cooking") as caught:
        ModelServer().get_model("cooking")
    assert caught.value.hint == "Roles: analysis, chat, trading."


# --- no model --------------------------------------------------------------------------------------------------------
async def test_none_means_none_and_says_how_to_change_it(tmp_path: Path) -> None:
    server = ModelServer(settings(tmp_path, model="none"))
    assert server.state().phase == "none"
    assert not server.state().usable
    with pytest.raises(ModelUnavailableError) as caught:
        await server.get_model("chat").complete(ASK)
    assert "RETAINER_MODEL=default" in caught.value.hint


def test_without_network_and_file_the_error_names_the_way_out(tmp_path: Path) -> None:
    server = ModelServer(settings(tmp_path, model="small"))
    assert server.state().phase == "absent"
    assert server.state().fix == "retainer fetch smollm2-135m-instruct-q4_1"
    with pytest.raises(FetchError, match="not fetched") as caught:
        server.get_model("chat").generate("Hi")
    assert caught.value.hint
    assert server.state().phase == "failed"
    assert "fetching is off" in server.state().words


async def test_asking_without_fetching_never_waits_for_a_download(tmp_path: Path) -> None:
    server = ModelServer(settings(tmp_path, model="small"))
    with pytest.raises(ModelUnavailableError, match="not fetched yet"):
        await server.get_model("chat").complete(ASK)
    server._local().progress = Progress("small", "fetching", 43, 100)
    assert server.state().words == "smollm2-135m-instruct-q4_1: fetching 43 % of 100 B"
    with pytest.raises(ModelNotReadyError, match="43 %"):
        await server.get_model("chat").complete(ASK)


def test_an_unknown_model_id_is_told_not_replaced(tmp_path: Path) -> None:
    server = ModelServer(settings(tmp_path, model="gpt-9"))
    assert server.state().phase == "failed"
    assert "small" in server.state().fix
    with pytest.raises(RetainerError, match="gpt-9"):
        server.get_model("chat").generate("Hi")


def test_what_does_not_fit_the_memory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "memory_free", lambda: 1_500 << 20)
    assert ModelServer(settings(tmp_path)).state().model == "smollm2-135m-instruct-q4_1"
    monkeypatch.setattr(local_module, "memory_free", lambda: 100 << 20)
    state = ModelServer(settings(tmp_path)).state()
    assert state.phase == "failed"
    assert "105 MB is free" in state.detail


async def test_a_default_that_cannot_be_fetched_gives_way_to_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_module, "memory_free", lambda: 64 << 30)
    with ModelServer(settings(tmp_path, threads=1)) as server:
        small = server.catalogue.find("small")
        blob = server.store.blobs / small.sha256
        blob.parent.mkdir(parents=True)
        blob.symlink_to(ModelStore().path(small))
        assert server.state().model.startswith("qwen")
        await server.ensure("chat")
        assert server.state().phase == "ready"
        assert server.state().model == small.id


# --- elsewhere -------------------------------------------------------------------------------------------------------
async def _ollama(asked: Any, reply: Any) -> None:
    if asked.path == "/api/tags":
        await reply.json({"models": [{"name": "qwen3:4b"}]})
    elif asked.path == "/api/show":
        await reply.json({"capabilities": ["completion"]})
    else:
        await reply.lines({"message": {"content": "from ollama"}, "done": False}, {"done": True})


async def _remote(asked: Any, reply: Any) -> None:
    if asked.path == "/v1/models":
        await reply.json({"data": [{"id": "big"}]})
    else:
        await reply.events({"choices": [{"delta": {"content": "from afar"}, "finish_reason": "stop"}]})


async def test_a_running_ollama_is_used_before_anything_is_fetched(tmp_path: Path, serving: Any) -> None:
    async with serving(_ollama) as there:
        server = ModelServer(settings(tmp_path, ollama=there.url))
        await server.ensure("chat")
        assert (await server.get_model("chat").complete(ASK)).text == "from ollama"
        assert server.state().words == "ollama:qwen3:4b: ready"


async def test_a_configured_server_comes_first_and_gives_way_when_it_fails(tmp_path: Path, serving: Any) -> None:
    async with serving(_ollama) as second:
        async with serving(_remote) as first:
            chosen = settings(tmp_path, base_url=f"{first.url}/v1", api_key="k", ollama=second.url)
            server = ModelServer(chosen)
            model = server.get_model("chat")
            assert (await model.complete(ASK)).text == "from afar"
            assert first.asked[-1].headers["authorization"] == "Bearer k"
        assert (await model.complete(ASK)).text == "from ollama"
        assert [p async for p in model.stream(ASK)][:-1] == ["from ollama"]
        assert all("authorization" not in asked.headers for asked in second.asked)


async def test_an_ollama_asked_for_by_name_is_not_replaced(tmp_path: Path) -> None:
    server = ModelServer(settings(tmp_path, model="ollama:qwen3:4b", ollama=NOBODY))
    with pytest.raises(ModelUnavailableError) as caught:
        await server.get_model("chat").complete(ASK)
    assert "ollama pull qwen3:4b" in caught.value.hint
    assert not server.state().usable


# --- predictors ------------------------------------------------------------------------------------------------------
def test_a_predicting_role_is_trained_on_first_use_and_only_once() -> None:
    trained: list[int] = []

    def train() -> Any:
        trained.append(1)
        return constant()

    model = ModelServer(providers={"trading": train}).get_model("trading")
    assert isinstance(model, ServedPredictor)
    assert not trained
    assert model.state.words == "there, not started: loaded or trained on first use"
    np.testing.assert_array_equal(model.predict([[1.0], [2.0]]), [0.5, 0.5])
    assert model.features == ("x",)
    assert model.generate([[1.0]]).endswith(": 50.0%")
    assert trained == [1]
    assert model.state.phase == "ready"
    model.update_parameters(probability=0.6)
    assert model.predict([[1.0]])[0] == 0.6
    with pytest.raises(InvalidInputError):
        model.update_parameters(probability=2.0)


def test_a_provider_that_cannot_train_is_told_and_asked_again_next_time() -> None:
    answers: list[Any] = [NotFoundError("No bars.", hint="Fetch them."), constant()]

    def train() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server = ModelServer(providers={"trading": train})
    with pytest.raises(ModelUnavailableError, match="No bars") as caught:
        server.get_model("trading").predict([[1.0]])
    assert caught.value.hint == "Fetch them."
    assert server.state("trading").phase == "failed"
    assert server.get_model("trading").predict([[1.0]])[0] == 0.5


def test_providers_of_the_catalogue_are_dotted_names_resolved_on_use(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('[roles.weather]\nkind = "predict"\nprovider = "no.such.module:train"\n')
    server = ModelServer(settings(tmp_path, catalogue=more))
    model = server.get_model("weather")
    with pytest.raises(ModelUnavailableError, match=r"no\.such\.module"):
        model.predict([[1.0]])


# --- habits ----------------------------------------------------------------------------------------------------------
def test_asking_for_models_imports_nothing_heavy() -> None:
    code = (
        "import sys; from retainer.models.server import ModelServer; s = ModelServer(); s.status(); "
        "heavy = {'xllamacpp', 'numpy', 'pandas', 'sklearn', 'httpx2', 'httpx'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_files_of_the_catalogue_are_the_files_they_should_be() -> None:
    small = ModelServer().catalogue.find("small")
    assert hashlib.sha256(ModelStore().path(small).read_bytes()).hexdigest() == small.sha256
