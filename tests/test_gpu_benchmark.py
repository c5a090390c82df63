"""What `benchmarks/gpu.sh` measures on a GPU, tried on the CPU: every part leaves JSON, and none can harm the
others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(ROOT / "src"),
    "OMP_NUM_THREADS": "1",
    "PYTHON": sys.executable,
    "DEVICE": "cpu",
    "SMALL": "1",
}


def part(name: str, folder: Path, *flags: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "benchmarks" / "gpu.py"),
        name,
        "--device",
        "cpu",
        "--small",
        "--out",
        str(folder),
        *flags,
    ]


def read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    sheet = json.loads(path.read_text())
    return sheet, {row["case"]: row for row in sheet["rows"]}


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path)]
    ran = subprocess.run(
        command, env=ENVIRONMENT | {"PARTS": "nonsense facts"}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sheet, rows = read(tmp_path / "facts.json")
    assert sheet["status"] == "done"
    assert rows["torch"]["status"] == "done"
    assert rows["machine"]["cores"] >= 1
    assert "invalid choice: 'nonsense'" in (tmp_path / "log.txt").read_text()
    assert "## facts: done" in ran.stdout
    assert (tmp_path / "summary.md").read_text().strip() == ran.stdout[
        ran.stdout.index("# The project") :
    ].strip()


def test_a_method_is_compared_and_a_failing_one_does_not_stop_the_others(tmp_path: Path) -> None:
    hasty = ("--cases", "richardson-lucy", "--case-seconds", "0.001")
    subprocess.run(part("methods", tmp_path, *hasty), env=ENVIRONMENT, check=True)
    subprocess.run(
        part("methods", tmp_path, "--cases", "richardson-lucy", "pca", "--resume"),
        env=ENVIRONMENT,
        check=True,
    )
    sheet, rows = read(tmp_path / "methods.json")
    assert sheet["status"] == "done"
    assert rows["richardson-lucy"]["status"] == "failed"
    assert rows["richardson-lucy"]["reason"] == "Late: not done after 0.001 s"
    assert rows["pca"]["status"] == "done", rows["pca"]
    assert rows["pca"]["difference"] == 0.0  # the device is the CPU
    assert rows["pca"]["rounding"] > 0
    assert rows["pca"]["verdict"] == "as expected"


def test_a_signal_leaves_what_there_is(tmp_path: Path) -> None:
    with subprocess.Popen(
        part("networks", tmp_path), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        for _ in range(600):
            time.sleep(0.1)
            if (tmp_path / "networks.json").exists() and "running" in [
                row["status"] for row in read(tmp_path / "networks.json")[0]["rows"]
            ]:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    sheet, rows = read(tmp_path / "networks.json")
    assert sheet["status"] == "stopped"
    assert "SIGTERM" in sheet["reason"]
    assert rows["mfbd-quarter"]["status"] in ("running", "done")


def test_the_benchmark_runs_all_tests_that_want_a_gpu(tmp_path: Path) -> None:
    wanting = [
        path.parent for path in (ROOT / "tests").rglob("conftest.py") if "accelerator()" in path.read_text()
    ]
    folders = ", ".join(
        f'"{folder}"' for folder in sorted(path.relative_to(ROOT).as_posix() for path in wanting)
    )
    assert f"DEVICE_TESTS = ({folders})" in (ROOT / "benchmarks" / "gpu.py").read_text()
    subprocess.run(part("tests", tmp_path), env=ENVIRONMENT, check=True, capture_output=True)
    sheet, rows = read(tmp_path / "tests.json")
    assert sheet["status"] == "done"
    assert {row["status"] for row in rows.values()} == {"done"}
    assert any("on_pretended" in name for name in rows)
    assert any("optics" in name for name in rows)


def test_an_iteration_is_profiled_and_a_training_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    from heliorestore.train import loop

    def ran(part: str, *cases: str) -> list[dict[str, Any]]:
        sheet = gpu.Sheet(part, tmp_path, resume=False, device="cpu", small=True)
        gpu.PARTS[part](gpu.Options("cpu", tmp_path, True, 1, cases, 80.0), sheet)
        found = list(read(tmp_path / f"{part}.json")[1].values())
        assert {row["status"] for row in found if not cases or row["case"] in cases} == {"done"}, found
        return found

    memory, crossed = ran("profile")
    assert 0 < memory["transforms_gb"] < memory["gb"] < 1
    assert memory["share_of_copy"] > 0
    assert crossed["numbers_read"] == 0  # an iteration on the field asks for none
    slow = loop.train
    monkeypatch.setattr(loop, "train", lambda *a, **known: slow(*a, **known | {"seconds": 0.3}))
    first, second = (ran("training", "mfbd, a slice")[-1] for _ in range(2))
    assert second["steps"] > first["steps"] > 0
    assert 0 < second["largest_file_mb"] < 16
    assert second["data_share"] > 0


def test_a_sheet_that_cannot_be_written_leaves_the_last_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_results import Sheet

    sheet = Sheet("facts", tmp_path)
    sheet.put("torch", "done")
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            sheet.put("machine", "done")
    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]
    assert list(read(tmp_path / "facts.json")[1]) == ["torch"]
