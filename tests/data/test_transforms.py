"""Crops and augmentation against independent formulas, and their randomness."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference

from kintune.data.decode import ImageScale, ImagesOnDemand
from kintune.data.limits import decoding_threads
from kintune.data.transforms import (
    EpochDraws,
    center_crops,
    color_jitter,
    crop_threads,
    epoch_draws,
    random_crops,
    shuffled,
    varied,
)

SIZES = ((32, 40), (64, 32), (32, 32), (32, 96), (37, 32))
KINDS = ("random_resized_crop", "random_crop", "flip", "none")
EVERY = np.arange(len(SIZES))


def position_images(decoded, *sizes):
    """Images whose red is the row, whose green the column: a crop tells where it is from."""
    images = decoded(*sizes)
    for index, (height, width) in enumerate(sizes):
        rows, columns = np.mgrid[0:height, 0:width]
        images[index][:] = np.stack([rows, columns, np.zeros_like(rows)], axis=2)
    return images


def augmented_crops(images, indices, image_size, kind, draws):
    crops = random_crops(images, indices, image_size, kind, draws)
    assert crops.dtype == torch.uint8
    return varied(crops, kind, draws.values[indices])


def test_center_crops_equal_torchvisions(decoded):
    images = decoded(*SIZES)
    crops = center_crops(images, EVERY, 28)
    assert crops.shape == (5, 3, 28, 28)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    for pixels, crop in zip(images, crops, strict=True):
        expected = reference.center_crop(torch.from_numpy(pixels).permute(2, 0, 1), [28, 28])
        assert torch.equal(crop, expected)


def test_no_augmentation_is_the_center(decoded):
    images = decoded(*SIZES)
    crops = augmented_crops(images, EVERY, 28, "none", epoch_draws(5, 0, 0))
    assert torch.equal(crops, center_crops(images, EVERY, 28) / 255)


def test_flip_is_the_center_mirrored_or_not(decoded):
    images = decoded(*[(32, 40)] * 40)
    indices = np.arange(40)
    center = center_crops(images, indices, 28) / 255
    flipped = augmented_crops(images, indices, 28, "flip", epoch_draws(40, 0, 0))
    same = (flipped == center).all(dim=(1, 2, 3))
    mirrored = (flipped == center.flip(-1)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 10 < same.sum() < 30


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_depends_on_seed_epoch_and_image_alone(decoded, kind):
    images = decoded(*SIZES)
    whole = augmented_crops(images, EVERY, 28, kind, epoch_draws(5, 3, 7))
    part = augmented_crops(images, np.array([4, 1]), 28, kind, epoch_draws(9, 3, 7))
    torch.testing.assert_close(part, whole[[4, 1]], rtol=0, atol=1e-6)
    assert torch.equal(whole, augmented_crops(images, EVERY, 28, kind, epoch_draws(5, 3, 7)))


@pytest.mark.parametrize(("seed", "epoch"), [(4, 7), (3, 8)])
def test_another_seed_or_epoch_augments_otherwise(decoded, seed, epoch):
    images = decoded(*SIZES)
    one = augmented_crops(images, EVERY, 28, "random_resized_crop", epoch_draws(5, 3, 7))
    other = augmented_crops(images, EVERY, 28, "random_resized_crop", epoch_draws(5, seed, epoch))
    assert ((one - other).abs().amax(dim=(1, 2, 3)) > 0.05).all()


def without_jitter(draws):
    """The same draws with brightness, contrast and saturation unchanged, never mirrored."""
    values = draws.values.copy()
    values[:, 4:] = (0.9, 0.5, 0.5, 0.5)
    return EpochDraws(values)


def test_random_crop_is_an_unscaled_square_anywhere(decoded):
    images = position_images(decoded, *[(40, 50)] * 300)
    draws = without_jitter(epoch_draws(300, 0, 0))
    crops = augmented_crops(images, np.arange(300), 32, "random_crop", draws) * 255
    tops, lefts = crops[:, 0, 0, 0].round().int(), crops[:, 1, 0, 0].round().int()
    assert set(tops.tolist()) == set(range(9))
    assert set(lefts.tolist()) == set(range(19))
    steps = torch.arange(32.0)
    torch.testing.assert_close(
        crops[:, 0], (tops[:, None, None] + steps[:, None]).expand_as(crops[:, 0])
    )


@pytest.mark.parametrize("size", [(200, 200), (120, 240), (240, 80)])
def test_resized_crops_keep_the_bounds_of_area_and_aspect(decoded, size):
    images = position_images(decoded, *[size] * 400)
    draws = without_jitter(epoch_draws(400, 0, 0))
    crops = augmented_crops(images, np.arange(400), 16, "random_resized_crop", draws) * 255
    # The gradient of the position from the first to the last pixel gives the box's sides.
    height = (crops[:, 0, -1, 8] - crops[:, 0, 0, 8]).double() * 16 / 15
    width = (crops[:, 1, 8, -1] - crops[:, 1, 8, 0]).double() * 16 / 15
    area = height * width / (size[0] * size[1])
    aspect = width / height
    largest = min(1.0, min(size) ** 2 * 4 / 3 / (size[0] * size[1]))
    assert 0.07 < area.min() < 0.12
    assert 0.9 * largest < area.max() < 1.05 * largest
    assert 0.70 < aspect.min() < 0.80
    assert 1.25 < aspect.max() < 1.42
    assert abs(aspect.log().mean()) < 0.05


def test_square_images_give_areas_spread_evenly(decoded):
    images = position_images(decoded, *[(200, 200)] * 600)
    draws = without_jitter(epoch_draws(600, 5, 0))
    values = draws.values.copy()
    values[:, 1] = 0.5  # aspect 1: the largest area is the whole image
    crops = augmented_crops(images, np.arange(600), 16, "random_resized_crop", EpochDraws(values))
    side = (crops[:, 0, -1, 8] - crops[:, 0, 0, 8]).double() * 255 * 16 / 15
    area = (side / 200) ** 2
    quantiles = torch.quantile(area, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    expected = 0.08 + 0.92 * torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(quantiles, expected, atol=0.05, rtol=0)


def test_large_boxes_are_not_aliased(decoded):
    images = decoded((128, 128))
    images[0][:] = (np.indices((128, 128)).sum(axis=0) % 2 * 255)[..., None]
    whole = EpochDraws(np.array([[1 - 1e-9, 0.5, 0, 0, 0.9, 0.5, 0.5, 0.5]]))
    crop = augmented_crops(images, np.array([0]), 32, "random_resized_crop", whole)
    assert (crop - 0.5).abs().max() < 0.1


def test_color_jitter_equals_torchvisions_adjustments():
    batch = torch.rand(6, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    factors = np.random.default_rng(0).uniform(0.6, 1.4, (6, 3))
    expected = torch.stack(
        [
            reference.adjust_saturation(
                reference.adjust_contrast(reference.adjust_brightness(image, b), c), s
            )
            for image, (b, c, s) in zip(batch, factors.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(color_jitter(batch.clone(), factors), expected)


def test_color_jitter_blends_with_black_mean_gray_and_gray():
    image = np.array([[[0.2, 0.4]], [[0.3, 0.5]], [[0.6, 0.1]]])  # 3 channels, 1 x 2 pixels
    brightness, contrast, saturation = 0.9, 1.2, 0.7
    weights = np.array([0.2989, 0.587, 0.114])
    expected = image * brightness
    mean = np.tensordot(weights, expected, 1).mean()
    expected = contrast * expected + (1 - contrast) * mean
    expected = saturation * expected + (1 - saturation) * np.tensordot(weights, expected, 1)
    got = color_jitter(
        torch.tensor(image[None], dtype=torch.float32),
        np.array([[brightness, contrast, saturation]]),
    )
    np.testing.assert_allclose(got[0], expected, atol=1e-6)


def test_jitter_factors_span_forty_percent(decoded):
    images = decoded(*[(16, 16)] * 500)
    for pixels in images:
        pixels[:] = 100
    crops = augmented_crops(images, np.arange(500), 16, "random_crop", epoch_draws(500, 0, 0))
    factors = crops[:, 0, 0, 0] / (100 / 255)  # contrast and saturation leave an even gray as it is
    assert 0.6 <= factors.min() < 0.61
    assert 1.39 < factors.max() <= 1.4


def test_shuffled_is_a_permutation_that_seed_and_epoch_decide():
    indices = np.array([5, 9, 2, 40, 7, 11, 3])
    once = shuffled(indices, 0, 1)
    assert sorted(once) == sorted(indices)
    assert np.array_equal(once, shuffled(indices, 0, 1))
    assert not np.array_equal(once, shuffled(indices, 0, 2))
    assert not np.array_equal(once, shuffled(indices, 1, 1))


def test_one_thread_crops_beside_a_cpu_and_all_beside_a_gpu(decoded):
    images = decoded((20, 24))
    assert crop_threads(images, "cpu") == 1
    assert crop_threads(images, "cuda") == decoding_threads()
    on_demand = ImagesOnDemand(**vars(images), paths=("a.png",), scale=ImageScale(20, "bilinear"))
    assert crop_threads(on_demand, "cpu") == decoding_threads()
