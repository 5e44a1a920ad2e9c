"""The parser on files written here, record by record, as dlib writes them."""

import math
import struct

import numpy as np
import pytest

from inference.weights.dlib_dat import DatFormatError, parse_dat

MEAN = (122.782, 117.001, 104.298)


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(values: np.ndarray, shape: tuple[int, int, int, int], version: int = 2) -> bytes:
    return integer(version) + b"".join(map(integer, shape)) + values.astype("<f4").tobytes()


def network(*layers: bytes) -> bytes:
    header = text("loss_metric_2") + integer(3) + b"\x01\x02" * 50
    return header + text("input_rgb_image_sized") + b"".join(map(real, MEAN)) + integer(150) * 2 + b"".join(layers)


def flat(tag: str, values: np.ndarray) -> bytes:
    return text(tag) + tensor(values, (values.size, 1, 1, 1)) + integer(7) + integer(-3)


def test_layers_come_in_order_with_their_values() -> None:
    filters, affine = np.arange(300, dtype=np.float32), np.linspace(-1, 1, 6, dtype=np.float32)
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    last = text("fc_2") + integer(2) + integer(3) + tensor(matrix, (3, 2, 1, 1))

    parsed = parse_dat(network(flat("con_4", filters), flat("affine_", affine), text("relu_1"), last))

    assert [layer.tag for layer in parsed.layers] == ["con_4", "affine_", "fc_2"]
    for layer, values in zip(parsed.layers, (filters, affine, matrix), strict=True):
        np.testing.assert_array_equal(layer.parameters, values)


def test_the_input_layer_says_the_mean_and_the_size() -> None:
    parsed = parse_dat(network())

    assert parsed.mean == pytest.approx(MEAN, abs=1e-5)
    assert (parsed.rows, parsed.columns, parsed.layers) == (150, 150, ())


def test_a_tag_among_the_numbers_of_a_tensor_is_not_taken_for_a_layer() -> None:
    disguised = np.frombuffer(text("con_4").ljust(8, b"\x01"), dtype="<f4")
    values = np.concatenate([np.zeros(4, dtype=np.float32), disguised])

    parsed = parse_dat(network(flat("con_4", values), flat("affine_", values)))

    assert [layer.tag for layer in parsed.layers] == ["con_4", "affine_"]
    np.testing.assert_array_equal(parsed.layers[0].parameters, values)


@pytest.mark.parametrize("missing", [1, 4, 100, 300])
def test_a_truncated_file_is_refused(missing: int) -> None:
    whole = network(text("con_4") + tensor(np.ones(100, dtype=np.float32), (100, 1, 1, 1)))

    with pytest.raises(DatFormatError, match="ends at byte"):
        parse_dat(whole[:-missing])


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"con_4"])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(DatFormatError, match="no dlib network"):
        parse_dat(content)


def test_another_tensor_version_is_refused() -> None:
    with pytest.raises(DatFormatError, match="version 3"):
        parse_dat(network(text("con_4") + tensor(np.ones(4), (4, 1, 1, 1), version=3)))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DatFormatError, match="not finite"):
        parse_dat(network(flat("con_4", np.array([1.0, np.nan]))))


def test_a_damaged_integer_is_refused() -> None:
    with pytest.raises(DatFormatError, match="no integer"):
        parse_dat(network(text("con_4") + struct.pack("B", 0x7F)))
