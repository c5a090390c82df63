from heliorestore.nets import weights


def test_the_weights_of_the_package_are_whole() -> None:
    folder = weights.folders()[1]
    bundled = sorted(path.stem for path in folder.glob("*.safetensors"))
    assert "emulator-narrow" in bundled
    assert {
        f"enhance-{kind}{size}" for kind in ("continuum", "magnetogram") for size in ("", "-small")
    } <= set(bundled)
    assert {"mfbd-sst-quarter", "mfbd-crisp-quarter", "mfbd-chromis-quarter"} <= set(bundled)
    for name in bundled:
        _, record = weights.load(str(folder / f"{name}.safetensors"))
        assert record.name == name
        assert record.data
        assert record.training
        assert record.quality
        assert record.recipe
