import numpy as np
import torch

from heliorestore.nets.mfbd import EncoderDecoder
from heliorestore.nets.tile_rows import cuts, restored_rows


def test_cuts_cover_every_pixel_once_with_the_overlap_around() -> None:
    image = np.arange(40 * 50).reshape(40, 50)
    covered = np.zeros(image.shape, int)
    for top in range(0, 40, 16):
        rows = slice(top, min(top + 16, 40))
        for cut in cuts(image.shape, rows, 16, 8):
            np.testing.assert_array_equal(image[cut.read][cut.inner], image[cut.write])
            covered[cut.write] += 1
            for axis in (0, 1):
                assert cut.read[axis].start == max(0, cut.write[axis].start - 8)
                assert cut.read[axis].stop == min(image.shape[axis], cut.write[axis].stop + 8)
    assert (covered == 1).all()


def test_a_zoom_places_larger_tiles() -> None:
    cut = list(cuts((40, 50), slice(16, 32), 16, 5, zoom=2))[1]
    assert cut.read == (slice(11, 37), slice(11, 37))
    assert cut.inner == (slice(10, 42), slice(10, 42))
    assert cut.write == (slice(32, 64), slice(32, 64))


def test_tiles_of_a_network_with_strides_have_no_seam() -> None:
    torch.manual_seed(0)
    net = EncoderDecoder(kernels=4).eval()
    torch.nn.init.normal_(net.C64.weight)
    frames = torch.rand(1, 7, 176, 16)
    with torch.inference_mode():
        whole = net(frames)
    parts = [restored_rows(net, frames, slice(top, top + 88), side=8, reach=net.reach) for top in (0, 88)]
    torch.testing.assert_close(torch.cat(parts, -2), whole, rtol=0, atol=1e-5)
