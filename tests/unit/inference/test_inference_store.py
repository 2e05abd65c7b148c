"""What is refused, and that nothing in it is executed."""

from __future__ import annotations

import builtins
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haystack.errors import ContractError, HaystackError, ModelError  # noqa: E402
from haystack.files import sha256  # noqa: E402
from haystack.inference import forward, store  # noqa: E402
from haystack.inference.architecture import Architecture, build  # noqa: E402
from haystack.inference.importing import import_checkpoint, read_gene_list  # noqa: E402
from haystack.inference.store import agrees_with_cpu, load_model, model_genes, pick_device, save_model  # noqa: E402

TINY = Architecture(n_genes=60, n_hidden=4, token_dim=8, n_cells=32, n_layers=2, n_heads=2)
GENES = [f"GENE{i}" for i in range(60)]


class Bomb:
    """Unpickling this runs code."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.haystack_was_here = True",))


@pytest.fixture(autouse=True)
def _nothing_is_executed():
    yield
    assert not hasattr(builtins, "haystack_was_here")


def pin_again(folder):
    """As an attacker who also fixes the hashes would."""
    path = folder / "provenance.json"
    data = json.loads(path.read_text())
    data["files"] = {name: sha256(folder / name) for name in data["files"]}
    path.write_text(json.dumps(data))


def test_round_trip(tiny_dir):
    model = load_model(tiny_dir)
    torch.manual_seed(0)
    assert model.genes == GENES == model_genes(tiny_dir)
    assert model.architecture == TINY
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    half = load_model(tiny_dir, precision="bf16")
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.bfloat16}
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(half.network.state_dict()[name], tensor.bfloat16())


def test_saving_is_deterministic(tmp_path):
    torch.manual_seed(0)
    tensors = build(TINY).state_dict()
    for name in ("a", "b"):
        save_model(tmp_path / name, tensors, TINY, GENES, {})
    assert sha256(tmp_path / "a" / "model.safetensors") == sha256(tmp_path / "b" / "model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "genes.txt", "provenance.json"])
def test_missing_file(tiny_dir, name):
    (tiny_dir / name).unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        load_model(tiny_dir)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "genes.txt"])
def test_changed_file(tiny_dir, name):
    path = tiny_dir / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=rf"{name}: sha256 is"):
        load_model(tiny_dir)


def test_truncated_weights_even_with_matching_hash(tiny_dir):
    path = tiny_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    pin_again(tiny_dir)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(tiny_dir)


def test_pickle_in_place_of_weights(tiny_dir):
    torch.save({"x": Bomb()}, tiny_dir / "model.safetensors")
    pin_again(tiny_dir)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(tiny_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("cls.0.weight"), "cls.0.weight is missing"),
        (lambda t: t.update(extra=torch.zeros(2)), "extra does not belong"),
        (
            lambda t: t.update({"query_pos_embedding": torch.zeros(4, 9)}),
            r"query_pos_embedding has shape \(4, 9\), expected",
        ),
        (lambda t: t["query_pos_embedding"].fill_(float("nan")), "query_pos_embedding holds NaN"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, change, message):
    torch.manual_seed(0)
    tensors = dict(build(TINY).state_dict())
    change(tensors)
    save_model(tmp_path, tensors, TINY, GENES, {})
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


def test_config_is_checked(tiny_dir):
    path = tiny_dir / "config.json"
    path.write_text(path.read_text().replace('"n_layers": 2', '"n_layers": -2'))
    pin_again(tiny_dir)
    with pytest.raises(ContractError, match="n_layers"):
        load_model(tiny_dir)


def test_gene_count_is_checked(tiny_dir):
    (tiny_dir / "genes.txt").write_text("".join(f"{gene}\n" for gene in GENES[:-1]))
    pin_again(tiny_dir)
    with pytest.raises(ModelError, match="59 genes, but n_genes"):
        load_model(tiny_dir)


@pytest.mark.parametrize("line", ["", "lower", "TWO WORDS\t", "GENE1"])
def test_gene_lines_are_checked(tiny_dir, line):
    (tiny_dir / "genes.txt").write_text("".join(f"{gene}\n" for gene in [*GENES[:-1], line]))
    with pytest.raises(ModelError, match=r"genes\.txt"):
        model_genes(tiny_dir)


def test_unknown_precision(tiny_dir):
    with pytest.raises(ModelError, match="fp16"):
        load_model(tiny_dir, precision="fp16")


def write_checkpoint(path, config=None, extra=None, network=None):
    torch.manual_seed(1)
    network = network or build(TINY)
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    shape = TINY.model_dump() | {"sw_weight": 1.0} if config is None else config
    torch.save({"hyper_parameters": {"model_config": shape}, "state_dict": state} | (extra or {}), path)
    return network


def test_import(tmp_path):
    network = write_checkpoint(tmp_path / "m.ckpt")
    (tmp_path / "g.pkl").write_bytes(pickle.dumps([gene.lower() for gene in GENES]))
    pins = sha256(tmp_path / "m.ckpt"), sha256(tmp_path / "g.pkl")
    import_checkpoint(tmp_path / "m.ckpt", tmp_path / "g.pkl", tmp_path / "out", *pins)
    model = load_model(tmp_path / "out")
    assert model.genes == GENES
    for name, tensor in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor)
    assert model.provenance.source["sha256"] == dict(zip(("m.ckpt", "g.pkl"), pins, strict=True))


def test_import_refuses_what_upstream_would_run(tmp_path):
    write_checkpoint(tmp_path / "m.ckpt", extra={"callbacks": Bomb()})
    (tmp_path / "g.txt").write_text("\n".join(GENES))
    with pytest.raises(ModelError, match="Nothing was executed"):
        import_checkpoint(tmp_path / "m.ckpt", tmp_path / "g.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_import_refuses_truncated_and_wrong_hash(tmp_path):
    write_checkpoint(tmp_path / "m.ckpt")
    (tmp_path / "g.txt").write_text("\n".join(GENES))
    with pytest.raises(ModelError, match="not the pinned file, not opened"):
        import_checkpoint(tmp_path / "m.ckpt", tmp_path / "g.txt", tmp_path / "out", "0" * 64)
    (tmp_path / "m.ckpt").write_bytes((tmp_path / "m.ckpt").read_bytes()[:2000])
    with pytest.raises(ModelError, match="not a whole checkpoint"):
        import_checkpoint(tmp_path / "m.ckpt", tmp_path / "g.txt", tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "n_genes"),
        (TINY.model_dump() | {"n_hiden": 3}, "n_hiden"),
        (TINY.model_dump() | {"n_genes": 61}, "n_genes is 61"),
        (TINY.model_dump() | {"n_layers": 3}, "layers.2.* is missing"),
    ],
)
def test_import_refuses_a_config_that_does_not_fit(tmp_path, config, message):
    write_checkpoint(tmp_path / "m.ckpt", config=config)
    (tmp_path / "g.txt").write_text("\n".join(GENES))
    with pytest.raises(ModelError, match=message):
        import_checkpoint(tmp_path / "m.ckpt", tmp_path / "g.txt", tmp_path / "out")


@pytest.mark.parametrize("values", [GENES, tuple(GENES), np.array(GENES), np.array(GENES, dtype=object)])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_gene_lists_that_are_read(tmp_path, values, protocol):
    path = tmp_path / "genes.pkl"
    path.write_bytes(pickle.dumps(values, protocol=protocol))
    assert read_gene_list(path) == GENES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([*GENES, Bomb()]), r"asks for builtins\.exec"),
        (pickle.dumps(np.array([Bomb()], dtype=object)), r"asks for builtins\.exec"),
        (b"cos\nsystem\n(S'true'\ntR.", r"asks for (os|posix)\.system"),
        (pickle.dumps(GENES)[:-20], "not a whole pickled gene list"),
        (b"", "not a whole pickled gene list"),
        (pickle.dumps(np.arange(3), protocol=5), "not of strings"),
        (pickle.dumps({"a": 1}), "holds dict"),
        (pickle.dumps([1, 2]), "expected a list of gene symbols"),
        (pickle.dumps(["A", "A"]), "listed twice"),
    ],
)
def test_gene_lists_that_are_refused(tmp_path, content, message):
    path = tmp_path / "genes.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_gene_list(path)


def test_every_refusal_names_its_file(tiny_dir):
    (tiny_dir / "genes.txt").write_text("x y\n")
    with pytest.raises(HaystackError, match=re.escape(str(tiny_dir / "genes.txt"))):
        load_model(tiny_dir)


def test_loading_imports_no_more_of_torch_than_it_needs(tiny_dir):
    program = f"""
import sys
from haystack.inference.store import load_model
load_model({str(tiny_dir)!r})
assert "sympy" not in sys.modules, "torch imports sympy to draw numbers that are not there"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_auto_takes_no_device_that_no_test_has_run_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cpu")
    assert pick_device("mps") == torch.device("mps")


@pytest.mark.parametrize("agrees", [True, False])
def test_auto_takes_a_card_that_computes_as_the_processor(monkeypatch, agrees):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(store, "agrees_with_cpu", lambda device: agrees)
    assert pick_device("auto") == torch.device("cuda", 0) if agrees else torch.device("cpu")


def test_a_device_is_tried_on_a_tiny_model(monkeypatch, caplog):
    """A device that agrees, one that cannot compute at all, one whose means are off, one whose draws are off."""
    processor, tried = torch.device("cpu"), agrees_with_cpu.__wrapped__
    assert tried(processor)
    assert "device cpu" not in caplog.text
    assert not tried(torch.device("meta"))
    assert "device meta fails on a tiny model" in caplog.text
    means, calls = forward.means, []
    with monkeypatch.context() as patch:
        patch.setattr(forward, "means", lambda *given: means(*given) * (0.98 + 0.02 * len(calls.append(1) or calls)))
        assert not tried(processor)
    assert "means differ by 2.0 %" in caplog.text
    from haystack.inference import generation

    monkeypatch.setattr(generation, "sample_counts", lambda mean, theta, rng: 2 * mean)
    assert not tried(processor)
    assert "counts are 2.00 of what" in caplog.text


def test_tf32_is_for_cards(tiny_dir, caplog):
    model = load_model(tiny_dir, device="cpu", precision="tf32")
    assert "tf32 is for CUDA devices; cpu computes in fp32" in caplog.text
    assert model.network.gene_pos_embedding.dtype is torch.float32


@pytest.mark.parametrize(
    ("units", "warns"), [({"avx512_bf16": False, "amx_bf16": True}, False), ({"avx2": True}, True)]
)
def test_bf16_without_units_for_it_is_told(tiny_dir, monkeypatch, caplog, units, warns):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    load_model(tiny_dir, device="cpu", precision="bf16")
    assert ("five times as long" in caplog.text) is warns
    caplog.clear()
    load_model(tiny_dir, device="cpu")
    assert "model.precision" not in caplog.text
