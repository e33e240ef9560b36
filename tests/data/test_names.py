import pytest

from omnial.data.names import (
    image_of_mask,
    is_defective,
    is_either,
    is_good,
    is_unclear_kind,
    structure,
)

GOOD = ("OK", "ok", "Good", "NORMAL", "i.O.", "Pass", "defect-free", "no defects", "OK_2",
        "Good parts", "ok images", "良品", "正常", "gut")  # fmt: skip
DEFECTIVE = ("NG", "ng", "Bad", "nok", "n.i.O.", "Not OK", "not_good", "Anomaly", "defect",
             "Defects", "NG-2024", "FAIL", "bad parts", "不良品", "bottle_ng", "bottle defects",
             "broken")  # fmt: skip
EITHER = ("positive", "Negative", "pos", "neg")
PRODUCTS = ("bottle", "pcb1", "toothbrush", "anomaly_detection", "metal_nut", "1", "goods", "okra")
KINDS = ("scratch", "broken_large", "bent_lead", "1", "2", "print", "poke", "contamination")


@pytest.mark.parametrize("name", GOOD)
def test_words_for_defect_free(name: str) -> None:
    assert is_good(name)
    assert not is_defective(name)
    assert not is_unclear_kind(name)


@pytest.mark.parametrize("name", DEFECTIVE)
def test_words_for_defective(name: str) -> None:
    assert is_defective(name)
    assert not is_good(name)
    assert not is_unclear_kind(name)


@pytest.mark.parametrize("name", EITHER)
def test_words_for_either(name: str) -> None:
    assert is_either(name)
    assert is_unclear_kind(name)
    assert not is_good(name)
    assert not is_defective(name)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_keep_their_names(name: str) -> None:
    says = (is_good(name), is_defective(name), is_either(name), structure(name))
    assert says == (False, False, False, None)


@pytest.mark.parametrize("name", KINDS)
def test_kinds_keep_their_names(name: str) -> None:
    assert (is_good(name), is_unclear_kind(name)) == (False, False)


@pytest.mark.parametrize("name", ["0", "almost_good", "ok bottles", "positive"])
def test_kinds_that_may_be_good(name: str) -> None:
    assert is_unclear_kind(name)


def test_structure() -> None:
    assert [structure(name) for name in ("Train", "TESTING", "Ground_Truth", "ground truth")] == [
        *("train", "test", "masks", "masks")
    ]
    assert [structure(name) for name in ("mask", "Masks", "GT", "Label", "test2", "trains")] == [
        *("masks",) * 4, None, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("000_mask", "000"),
        ("Part0_label", "Part0"),
        ("a-GT", "a"),
        ("a.mask", "a"),
        ("a b_ground_truth", "a b"),
        ("mask_7", "7"),
        ("a_mask_b", None),
        ("mask", None),
        ("unmask", None),
        ("_mask", None),
    ],
)
def test_masks_are_called_after_their_image(mask: str, image: str | None) -> None:
    assert image_of_mask(mask) == image
