"""What to cite: every method has papers, and the citation of the project names the same ones."""

import re
from pathlib import Path

import pytest

import heliorestore
from heliorestore.cli import main
from heliorestore.commands.cite import entries
from heliorestore.methods import METHODS
from heliorestore.methods.richardson_lucy import RichardsonLucySettings
from heliorestore.samples import sample_path

ROOT = Path(__file__).parents[2]


def doi_of(entry: str) -> str:
    return re.search(r"doi += \{(.+)\}", entry)[1]


def test_every_method_has_its_papers_and_no_paper_is_left_over() -> None:
    papers = entries()
    assert {key for method in METHODS.values() for key in method.papers} == papers.keys()
    assert all(method.papers for method in METHODS.values())
    for key, entry in papers.items():
        assert entry.startswith(f"@article{{{key},")
        assert entry.count("{") == entry.count("}")
        assert doi_of(entry).startswith("10.")


def test_the_citation_file_names_the_papers_and_the_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert set(re.findall(r"doi: (\S+)", text)) == {doi_of(entry) for entry in entries().values()}
    assert f"\nversion: {heliorestore.__version__}\n" in text


def test_a_restored_file_is_cited_by_its_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    restored = tmp_path / "restored.fits"
    burst = heliorestore.read(sample_path("hmi_continuum.fits"))
    heliorestore.write(heliorestore.restore(burst, RichardsonLucySettings(iterations=1)), restored)
    assert main(["cite", str(restored), "sv-momfbd", "sv-momfbd"]) == 0
    assert re.findall(r"^@\w+\{(\w+),", capsys.readouterr().out, re.MULTILINE) == [
        "heliorestore",
        "Richardson1972",
        "Lucy1974",
        "AsensioRamos2024",
    ]
    assert main(["cite", str(sample_path("hmi_continuum.fits"))]) == 2
    assert "was not restored by heliorestore" in capsys.readouterr().err
